//! The framing of records, from plain bytes: as they are, and with the CRC of every length made right, so that lengths
//! of any size are believed until the bytes are missing.

use std::io::Cursor;

use framewise_stages::tfrecord::{ReadError, ReaderOptions, RecordReader};

use crate::counting::peak;

/// Bytes of a header: the length and its CRC. A footer is the CRC of the payload.
const HEADER: usize = 12;
const FOOTER: usize = 4;

/// Holds the laws of framing to these bytes.
pub fn check(data: &[u8]) {
    // What begins like a compressed file is read as one.
    let whole = if data.starts_with(&[0x1f, 0x8b]) || data.starts_with(b"x") {
        crate::gzip::EXPANSION * data.len()
    } else {
        data.len()
    };
    read(data, false, whole);
    let repaired = repaired(data);
    read(&repaired, true, whole);
    read(&repaired, false, whole);
}

/// The bytes with the right CRC behind every length that stands where a header is due.
fn repaired(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let mut at = 0;
    while let Some((header, _)) = bytes.get_mut(at..).and_then(|rest| rest.split_first_chunk_mut::<HEADER>())
    {
        let (length, crc) = header.split_at_mut(8);
        crc.copy_from_slice(&masked_crc(length).to_le_bytes());
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        let Some(next) = usize::try_from(length).ok().and_then(|n| n.checked_add(at + HEADER + FOOTER))
        else {
            break;
        };
        at = next;
    }
    bytes
}

/// CRC-32C bit by bit, masked as TFRecord does: a plainer computation than the reader's.
fn masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Reads all records, then passes over them; `content` bytes may come out of `data` once it is unpacked.
pub(crate) fn read(data: &[u8], verify_data_crc: bool, content: usize) {
    let options = ReaderOptions { verify_data_crc, ..ReaderOptions::default() };
    let open = || RecordReader::over("fuzz", Cursor::new(data.to_vec()), options.clone());
    let used = peak(|| {
        let mut reader = open().expect("memory can be read");
        let (mut records, mut payloads, mut ended) = (0, 0, false);
        while let Some(item) = reader.next() {
            assert!(!ended, "nothing follows what ends the file");
            match item {
                Ok(record) => {
                    assert_eq!(record.origin.record, records);
                    payloads += record.data.len();
                }
                Err(ReadError::Bad(error)) => {
                    assert_eq!(error.origin.record, records);
                    assert!(error.to_string().starts_with("fuzz: record "), "{error}");
                    ended = error.ends_file();
                }
                Err(error) => panic!("{error}"),
            }
            records += 1;
        }
        assert!(reader.next().is_none());
        assert!(payloads <= content, "{payloads} bytes of payload out of {content}");
        let mut passing = open().expect("memory can be read");
        match passing.skip(u64::MAX) {
            Ok(passed) => assert!(!ended && passed == records, "{passed} passed, {records} read"),
            Err(_) => assert!(ended),
        }
    });
    // A mebibyte is reserved before the first byte of a record; buffers and a decompressor come to less.
    assert!(used <= (2 << 20) + 3 * data.len() + 2 * content, "{used} bytes for {}", data.len());
}
