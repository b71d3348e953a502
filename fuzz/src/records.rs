//! The fuzz target for the framing of records in plain bytes. The bytes are used as they are, and also with the CRC of
//! every length made right, so that the reader believes lengths of any size until the bytes are missing.

use crate::framing::{EXPANSION, ZSTD_EXPANSION, read};

/// The bytes of a header, which is the length and its CRC. A footer is the CRC of the payload.
const HEADER: usize = 12;
const FOOTER: usize = 4;

/// Asserts the laws of framing for these bytes.
pub fn check(data: &[u8]) {
    // An input that begins like a compressed file is read as one.
    let whole = if data.starts_with(&[0x1f, 0x8b]) || data.starts_with(b"x") {
        EXPANSION * data.len()
    } else if data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || data.get(1..4) == Some(&[0x2a, 0x4d, 0x18]) {
        ZSTD_EXPANSION * data.len()
    } else {
        data.len()
    };
    read(data, false, whole);
    let repaired = repaired(data);
    read(&repaired, true, whole);
    read(&repaired, false, whole);
}

/// The bytes, with the right CRC put behind every length that stands where a header is due.
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

/// The CRC-32C, computed bit by bit and masked as TFRecord does. This is a plainer computation than the reader's.
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
