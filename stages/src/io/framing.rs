//! The framing of a TFRecord: a length, its CRC, the payload, the payload's CRC.
//!
//! A file of records is recognised by its first record, which has a length whose CRC agrees.

/// The number of bytes before a payload, which are its length and the length's CRC.
pub(crate) const HEADER_BYTES: usize = 12;
/// The number of bytes after a payload, which are its CRC.
pub(crate) const FOOTER_BYTES: usize = 4;

/// The CRC-32C in the form in which TFRecord stores it: rotated right by 15 and offset, so that the CRC of data that
/// contain CRCs stays good.
pub(crate) fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The length that a header states, if its CRC agrees.
pub(crate) fn header_length(header: &[u8; HEADER_BYTES]) -> Option<u64> {
    let (length, crc) = header.split_at(8);
    let stored = u32::from_le_bytes(crc.try_into().ok()?);
    (stored == masked_crc(length)).then_some(u64::from_le_bytes(length.try_into().ok()?))
}

/// Whether a file that begins with these bytes begins with a record.
pub(crate) fn is_header(head: &[u8]) -> bool {
    head.first_chunk().is_some_and(|header| header_length(header).is_some())
}
