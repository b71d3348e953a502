//! TFRecord files of YouTube-8M: framing, decoding, and their inverses for tests and tools.
//!
//! One law: no byte of a file is trusted. A length never sizes an allocation before the bytes are there, nothing
//! panics, and every refusal is a [`RecordError`] that names the file, the record and the reason.
//!
//! Framing: u64 length (little-endian), u32 masked CRC-32C of those eight bytes, payload, u32 masked CRC-32C of the
//! payload. No stage and no channel appears here: these are plain readers and functions.

mod decode;
mod encode;
mod error;
mod features;
mod reader;
mod sizes;
mod source;
mod wire;
mod writer;

pub use decode::{DecodeOptions, decode_frames, decode_video};
pub use encode::{encode_frames, encode_video};
pub use error::{ReadError, Reason, RecordError, WriteError};
pub use features::{DEFAULT_ID_KEYS, peek_id};
pub use reader::{DEFAULT_MAX_RECORD_BYTES, ReaderOptions, RecordReader};
pub use sizes::{Level, Sizes, peek_sizes};
pub use writer::{Compression, RecordWriter};

/// Bytes before a payload: its length and the length's CRC.
const HEADER_BYTES: usize = 12;
/// Bytes after a payload: its CRC.
const FOOTER_BYTES: usize = 4;

/// CRC-32C as TFRecord stores it: rotated right by 15 and offset, so that the CRC of data that holds CRCs stays good.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The length a header states, if its CRC agrees.
fn header_length(header: &[u8; HEADER_BYTES]) -> Option<u64> {
    let (length, crc) = header.split_at(8);
    let stored = u32::from_le_bytes(crc.try_into().ok()?);
    (stored == masked_crc(length)).then_some(u64::from_le_bytes(length.try_into().ok()?))
}
