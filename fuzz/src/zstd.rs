//! The fuzz target for the framing of records behind Zstandard. The bytes are used as a frame, and also as good content
//! whose frame is cut or changed.

use crate::framing::{ZSTD_EXPANSION, read};

/// The bytes with which every frame begins.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Asserts the laws of framing for these bytes behind Zstandard.
pub fn check(data: &[u8]) {
    let stream = [&MAGIC, data].concat();
    read(&stream, false, ZSTD_EXPANSION * stream.len());
    // The first two bytes say where the packed stream is cut and which of its bytes changes.
    let Some((&[cut, changed], content)) = data.split_first_chunk() else { return };
    let mut packed = zstd::encode_all(content, 1).expect("memory takes any bytes");
    let place = changed as usize * packed.len() / 256;
    if changed > 0 {
        packed[place] ^= cut | 1;
    }
    packed.truncate(packed.len() - cut as usize * packed.len() / 512);
    // A changed stream may unpack to more than went in.
    let content = if changed == 0 { content.len() } else { ZSTD_EXPANSION * packed.len() };
    read(&packed, changed.is_multiple_of(2), content);
}
