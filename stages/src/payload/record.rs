//! A record as it was framed in its file, still undecoded, and the place it was read from.
//!
//! One law: an [`Origin`] is enough to find the record again.

use std::{fmt, path::Path, sync::Arc};

/// Where a record lies: the file, its index there, and its offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file, spelled as it was opened.
    pub file: Arc<Path>,
    /// Index of the record in the file; the first is 0.
    pub record: u64,
    /// Offset of the record's header in bytes. In a compressed file it counts the uncompressed stream.
    pub byte: u64,
}

impl fmt::Display for Origin {
    /// `train03.tfrecord: record 17 at byte 4410982`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: record {} at byte {}", self.file.display(), self.record, self.byte)
    }
}

/// The payload of one TFRecord, undecoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it was read.
    pub origin: Origin,
    /// The payload: a serialised `tf.train.SequenceExample` or `tf.train.Example`.
    pub data: Vec<u8>,
}

impl Record {
    /// Bytes of the payload.
    pub fn byte_len(&self) -> usize {
        self.data.len()
    }
}
