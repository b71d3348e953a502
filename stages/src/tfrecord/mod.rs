//! TFRecord files of YouTube-8M: framing, decoding, and their inverses for tests and tools.
//!
//! Law: no byte of a file is trusted. A length never sizes an allocation before the bytes are there, nothing panics,
//! and every refusal is a [`RecordError`] that names the file, the record and the reason.
//!
//! Framing: u64 length (little-endian), u32 masked CRC-32C of those eight bytes, payload, u32 masked CRC-32C of the
//! payload. A file may be packed whole by GZIP, ZLIB or Zstandard. No stage and no channel appears here: these are
//! plain readers and functions.

mod beginning;
mod contents;
mod decode;
mod encode;
mod error;
mod features;
mod reader;
mod sizes;
mod source;
mod wire;
mod writer;

pub use beginning::not_videos;
pub use contents::is_event;
pub use decode::{DecodeOptions, decode_counted_frames, decode_frames, decode_video};
pub use encode::{encode_frames, encode_video};
pub use error::{ReadError, Reason, RecordError, WriteError};
pub use features::{DEFAULT_ID_KEYS, peek_id};
pub use reader::{DEFAULT_MAX_RECORD_BYTES, ReaderOptions, RecordReader};
pub use sizes::{Level, Sizes, peek_sizes};
pub use writer::{Compression, RecordWriter};

pub use crate::io::packing::Packing;
