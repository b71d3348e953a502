//! The failures that several stages report in the same words.

use std::io;
use std::path::Path;

use framewise_pipeline::{ErrorKind, Failure};

use crate::collective::CollectiveError;
use crate::io::WriteError;
use crate::ranks::LinkError;
use crate::store::StoreError;

/// The failure of a computation on a device. When memory runs out, candle's own message says so.
pub(crate) fn compute_failure(what: &str, error: &candle_core::Error) -> Failure {
    Failure::internal(format!("{what}: {error}"))
}

/// The failure of what several devices compute together. Where a device did not come in time, the kind is
/// [`ErrorKind::Stalled`] (exit code 75).
pub(crate) fn collective_failure(what: &str, error: &CollectiveError) -> Failure {
    let kind = match error {
        CollectiveError::Missing { .. } => ErrorKind::Stalled,
        _ => ErrorKind::Internal,
    };
    Failure::new(kind, format!("{what}: {error}"))
}

/// The failure of exchanging messages between ranks. Where ranks do not do the same work, the kind is
/// [`ErrorKind::Config`] (exit code 78). Otherwise another rank is missed, and it is [`ErrorKind::Unavailable`] (exit code
/// 69).
pub(crate) fn link_failure(what: &str, error: &LinkError) -> Failure {
    let kind = match error {
        LinkError::Length { .. } => ErrorKind::Config,
        _ => ErrorKind::Unavailable,
    };
    Failure::new(kind, format!("{what}: {error}"))
}

/// The failure of writing a file of the run.
pub(crate) fn write_failure(path: &Path, error: &io::Error) -> Failure {
    write_failure_of(error.kind(), format!("{}: {error}", path.display()))
}

/// The failure of writing an output.
impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        write_failure_of(error.source.kind(), error)
    }
}

/// The failure of writing, with this `message`. If the reader of a stream has gone away, the kind is [`ErrorKind::Io`]
/// (exit code 74), because the output itself could be written. Otherwise it is [`ErrorKind::CannotWrite`] (exit code
/// 73).
fn write_failure_of(kind: io::ErrorKind, message: impl std::fmt::Display) -> Failure {
    match kind {
        io::ErrorKind::BrokenPipe => {
            Failure::new(ErrorKind::Io, format!("{message}: its reader has gone away"))
        }
        _ => Failure::cannot_write(message.to_string()),
    }
}

/// The kind of an error that was met while opening or reading a file. It is [`ErrorKind::NotFound`] (exit code 66) for
/// a file that is not there or cannot be opened, and [`ErrorKind::Io`] (exit code 74) for reading that failed half-way.
pub fn read_kind(error: &io::Error) -> ErrorKind {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound | Io::PermissionDenied | Io::IsADirectory | Io::NotADirectory | Io::Unsupported => {
            ErrorKind::NotFound
        }
        _ => ErrorKind::Io,
    }
}

/// The failure of opening or reading the file at `path`. Its kind is that of [`read_kind`].
pub fn read_failure(path: &Path, error: &io::Error) -> Failure {
    Failure::new(read_kind(error), format!("{}: {error}", path.display()))
}

/// The failure of a replay that does not find what the checkpoint's run had found.
pub(crate) fn data_changed(detail: impl std::fmt::Display) -> Failure {
    Failure::data(format!("the data changed since the checkpoint: {detail}"))
}

/// The failure of writing or reading a checkpoint or a weights file.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Write { source, .. } => return write_failure_of(source.kind(), &error),
            StoreError::Read { source, .. } => read_kind(source),
            StoreError::Missing { .. } => ErrorKind::NotFound,
            StoreError::Damaged { .. } | StoreError::Format { .. } => ErrorKind::Data,
            StoreError::Tensor { .. } => ErrorKind::Internal,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_fails_alike_whether_a_stage_or_the_store_reads_it() {
        let path = Path::new("weights.safetensors");
        for (kind, code) in [
            (io::ErrorKind::NotFound, 66),
            (io::ErrorKind::PermissionDenied, 66),
            (io::ErrorKind::IsADirectory, 66),
            (io::ErrorKind::NotADirectory, 66),
            (io::ErrorKind::InvalidData, 74),
            (io::ErrorKind::UnexpectedEof, 74),
        ] {
            assert_eq!(read_failure(path, &kind.into()).kind.exit_code(), code, "{kind:?}");
            let stored = StoreError::Read { path: path.to_owned(), source: kind.into() };
            assert_eq!(Failure::from(stored).kind.exit_code(), code, "{kind:?}");
        }
        let written = StoreError::Write { path: path.to_owned(), source: io::ErrorKind::NotFound.into() };
        assert_eq!(Failure::from(written).kind, ErrorKind::CannotWrite);
    }
}
