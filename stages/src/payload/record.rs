//! A record as it was framed in its file, not yet decoded, and the place from which it was read.
//!
//! Law: an [`Origin`] is enough to find the record again.

use std::{fmt, path::Path, sync::Arc};

use bytes::Bytes;

/// Where a record lies: its file, its index in the file, and its offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file, spelled as it was opened.
    pub file: Arc<Path>,
    /// The index of the record in the file. The first record has index 0.
    pub record: u64,
    /// The offset of the record's header in bytes. In a compressed file, the offset is that in the uncompressed stream.
    pub byte: u64,
}

impl fmt::Display for Origin {
    /// Writes the origin as `train03.tfrecord: record 17 at byte 4410982`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: record {} at byte {}", self.file.display(), self.record, self.byte)
    }
}

/// The payload of one TFRecord, not yet decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The place from which the record was read.
    pub origin: Origin,
    /// The payload: a serialised `tf.train.SequenceExample` or `tf.train.Example`. Clones share the memory.
    pub data: Bytes,
}

impl Record {
    /// The bytes of the payload.
    pub fn byte_len(&self) -> usize {
        self.data.len()
    }
}
