//! The errors of records, in the words that logs, counters and `rejected.jsonl` use.
//!
//! Law: every error says which file and which record it is about.

use std::{fmt, io, path::PathBuf};

use crate::payload::Origin;

/// The reason why a record was refused. The names of [`Reason::as_str`] are the values of the counter's label `reason`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// The file or its compressed stream ends inside the record, or cannot be read past it.
    Truncated,
    /// The header's CRC does not match its length.
    LengthCrc,
    /// The payload's CRC does not match the payload.
    DataCrc,
    /// The file's very first header does not check: it is no TFRecord file.
    NotTfrecord,
    /// The compressed stream is whole, and bytes that are neither a part of it nor zero padding follow it.
    TrailingGarbage,
    /// The record is whole, but longer than `max_record_bytes`.
    TooLong,
    /// The payload is not the protobuf message that it should be.
    BadProto,
    /// A feature is absent or of another kind.
    MissingFeature,
    /// A frame (or a mean) does not have the configured number of features.
    FrameSize,
    /// The `rgb` and `audio` lists differ in length.
    FrameCountMismatch,
    /// Both lists are empty.
    NoFrames,
    /// A label is negative or not below the number of classes.
    LabelOutOfRange,
    /// The video has no id, or an empty one, or something else than one text in its place.
    IdMissing,
    /// The video's id is not UTF-8.
    IdNotUtf8,
}

impl Reason {
    /// Every reason: those of framing first, then those of content.
    pub const ALL: [Self; 14] = [
        Self::Truncated,
        Self::LengthCrc,
        Self::DataCrc,
        Self::NotTfrecord,
        Self::TrailingGarbage,
        Self::TooLong,
        Self::BadProto,
        Self::MissingFeature,
        Self::FrameSize,
        Self::FrameCountMismatch,
        Self::NoFrames,
        Self::LabelOutOfRange,
        Self::IdMissing,
        Self::IdNotUtf8,
    ];

    /// The name in metrics, logs and `rejected.jsonl`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::LengthCrc => "length_crc",
            Self::DataCrc => "data_crc",
            Self::NotTfrecord => "not_tfrecord",
            Self::TrailingGarbage => "trailing_garbage",
            Self::TooLong => "too_long",
            Self::BadProto => "bad_proto",
            Self::MissingFeature => "missing_feature",
            Self::FrameSize => "frame_size",
            Self::FrameCountMismatch => "frame_count_mismatch",
            Self::NoFrames => "no_frames",
            Self::LabelOutOfRange => "label_out_of_range",
            Self::IdMissing => "id_missing",
            Self::IdNotUtf8 => "id_not_utf8",
        }
    }

    /// Whether nothing after such a record can be framed, so that the rest of the file is lost with it.
    pub fn ends_file(self) -> bool {
        matches!(self, Self::Truncated | Self::LengthCrc | Self::NotTfrecord | Self::TrailingGarbage)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record that cannot be used.
///
/// Displays as `train03.tfrecord: record 17 at byte 4410982 (id "aB3d"): data CRC mismatch`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{origin}{}: {detail}", IdNote(id.as_deref()))]
pub struct RecordError {
    /// Where the record lies.
    pub origin: Origin,
    /// The video's id, where it could be read. After [`Reason::DataCrc`] it was read from damaged bytes.
    pub id: Option<String>,
    /// The class of the error.
    pub reason: Reason,
    /// What exactly is wrong, with the numbers found and expected.
    pub detail: String,
}

impl RecordError {
    /// Whether nothing after this record can be framed, so that the rest of the file is lost with it.
    pub fn ends_file(&self) -> bool {
        self.reason.ends_file()
    }
}

struct IdNote<'a>(Option<&'a str>);

impl fmt::Display for IdNote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |id| write!(f, " (id {id:?})"))
    }
}

/// The reason why no record came out of a reader.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The record is bad. The reader continues with the next one unless [`RecordError::ends_file`].
    #[error(transparent)]
    Bad(#[from] RecordError),
    /// The operating system refused to read. The reader ends.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The error for a TFRecord file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}
