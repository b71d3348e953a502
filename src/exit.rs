//! The exit codes, in the numbering of sysexits.h.
//!
//! Law: the exit code follows from the kind of the first error.

use std::path::Path;
use std::{fmt, io};

use framewise_pipeline::Failure;
use framewise_pipeline::engine::RunError;

/// The run is done.
pub(crate) const OK: u8 = 0;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 64;
/// An internal error happened, which is a bug.
pub(crate) const INTERNAL: u8 = 70;
/// The run was stopped by Ctrl-C or a signal.
pub(crate) const INTERRUPTED: u8 = 130;

/// The error for a command line that asks for something that does not exist.
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

/// The failure to make or write a file or a directory.
pub(crate) fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::cannot_write(format!("cannot write {}: {error}", path.display()))
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
