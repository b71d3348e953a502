//! The beginning of a file that ought to hold videos: what the file is, if it is something else.

use std::path::Path;

use super::contents::is_event;
use super::error::{ReadError, Reason};
use super::reader::{ReaderOptions, RecordReader};
use crate::io::content::{self, Content};
use crate::io::framing;

/// What a file is that cannot hold videos, by its first few thousand bytes, such as `record 0 at byte 0: not a TFRecord
/// file: it is a JSON text`. `None` for a file that begins with a record, an empty file, and a compressed file, which is not unpacked.
///
/// # Errors
/// The file cannot be opened or read.
pub fn not_videos(path: &Path) -> Result<Option<String>, ReadError> {
    let failed = |source| ReadError::Io { path: path.to_owned(), source };
    let head = content::read_head(path).map_err(failed)?;
    match Content::of(&head) {
        _ if head.is_empty() => Ok(None),
        Some(Content::Packed(_)) => Ok(None),
        Some(Content::Records) => {
            let payload = head.get(framing::HEADER_BYTES..).unwrap_or_default();
            let is_log = is_event(payload);
            Ok(is_log.then(|| "its first record is an Event of TensorBoard, not a video".to_owned()))
        }
        // The reader has the words for everything else.
        _ => match RecordReader::open(path, ReaderOptions::default())?.next() {
            Some(Err(ReadError::Bad(error))) if error.reason == Reason::NotTfrecord => {
                Ok(Some(format!("record 0 at byte 0: {}", error.detail)))
            }
            Some(Err(error @ ReadError::Io { .. })) => Err(error),
            _ => Ok(None),
        },
    }
}
