//! Exit codes, in the numbering of sysexits.h.
//!
//! Law: the code follows from the first error, by its kind.

use std::fmt;

use framewise_pipeline::engine::RunError;
use framewise_pipeline::{ErrorKind, Failure};
use framewise_stages::store::StoreError;

/// Done.
pub(crate) const OK: u8 = 0;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 64;
/// A bug.
pub(crate) const INTERNAL: u8 = 70;
/// Stopped by Ctrl-C or a signal.
pub(crate) const INTERRUPTED: u8 = 130;

/// The command line asks for something that is not there.
#[derive(Debug)]
pub(crate) struct UsageError(pub(crate) String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// The exit code for an error of the program.
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<UsageError>() {
            return USAGE;
        }
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.kind.exit_code();
        }
        if let Some(error) = cause.downcast_ref::<RunError>() {
            return error.failure.kind.exit_code();
        }
    }
    INTERNAL
}

/// The kind of an error met while reading a file that a person named.
pub(crate) fn read_kind(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound | Io::PermissionDenied | Io::IsADirectory | Io::NotADirectory => ErrorKind::NotFound,
        _ => ErrorKind::Io,
    }
}

/// The failure to write or read a checkpoint or weights.
pub(crate) fn store_failure(error: StoreError) -> Failure {
    let kind = match &error {
        StoreError::Missing { .. } => ErrorKind::NotFound,
        StoreError::Read { source, .. } => read_kind(source),
        StoreError::Write { .. } => ErrorKind::CannotWrite,
        StoreError::Damaged { .. } | StoreError::Format { .. } => ErrorKind::Data,
        StoreError::Tensor { .. } => ErrorKind::Internal,
    };
    Failure::new(kind, error)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_code_is_found_below_added_context() {
        let plain: anyhow::Result<()> = Err(Failure::data("bad").into());
        let error = plain.context("reading a.tfrecord").unwrap_err();
        assert_eq!(code_of(&error), 65);
        assert_eq!(format!("{error:#}"), "reading a.tfrecord: bad");
        assert_eq!(code_of(&UsageError("no".into()).into()), 64);
        assert_eq!(code_of(&anyhow::anyhow!("unforeseen")), 70);
    }
}
