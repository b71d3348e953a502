//! The fuzz target for the framing of records behind GZIP. The bytes are used as a deflate stream of their own, and as
//! good content whose stream is cut or changed.

use std::io::Write;

use crate::framing::{EXPANSION, read};

/// A GZIP header without options.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Asserts the laws of framing for these bytes behind GZIP.
pub fn check(data: &[u8]) {
    let stream = [&HEADER, data].concat();
    read(&stream, false, EXPANSION * data.len());
    // The first two bytes say where the packed stream is cut, and which of its bytes is changed.
    let Some((&[cut, changed], content)) = data.split_first_chunk() else { return };
    let mut packed = packed(content);
    let place = changed as usize * packed.len() / 256;
    if changed > 0 {
        packed[place] ^= cut | 1;
    }
    packed.truncate(packed.len() - cut as usize * packed.len() / 512);
    // A changed stream may unpack to more than went in.
    let content = if changed == 0 { content.len() } else { EXPANSION * packed.len() };
    read(&packed, changed.is_multiple_of(2), content);
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("memory takes any bytes");
    encoder.finish().expect("memory takes any bytes")
}
