//! What can go wrong with stored files; every variant names the path.

use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be stored or read back.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Creating, writing, flushing, renaming or removing failed: disk full, no permission, no such folder.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Opening or reading failed.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such file, or no checkpoint at or below this path.
    #[error("{}: not found, or no checkpoint in it", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file is not what was written: bytes changed, cut off or missing.
    #[error("{} is damaged: {file}: {why}", path.display())]
    Damaged {
        /// The checkpoint directory, or the folder of a single file.
        path: PathBuf,
        /// The file in it.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// Whole, but not something this version can store or read.
    #[error("{}: {why}", path.display())]
    Format {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A tensor could not be brought to the host or built.
    #[error("tensor {name}: {source}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What candle said.
        source: candle_core::Error,
    },
}

impl StoreError {
    /// Whether writing failed (exit code 73), as against reading or the content.
    pub fn is_write_failure(&self) -> bool {
        matches!(self, Self::Write { .. })
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    /// A failure to read; a file that is not there is [`Missing`](Self::Missing).
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path: path.to_owned() },
            _ => Self::Read { path: path.to_owned(), source },
        }
    }

    /// Damage of one file, given its path.
    pub(super) fn damaged(file: &Path, why: impl Into<String>) -> Self {
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        let path = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::Damaged { path: path.to_owned(), file: name, why: why.into() }
    }

    pub(super) fn format(path: &Path, why: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), why: why.into() }
    }
}
