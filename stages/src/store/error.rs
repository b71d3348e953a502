//! The errors of stored files. Every variant names the path.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::io::WriteError;

/// The reason why something could not be stored or read back.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Creating, writing, flushing, renaming or removing a file failed. The disk is full, a permission is missing, or
    /// there is no such folder.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The path that was to be written.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file could not be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no such file, or there is no checkpoint at or below this path.
    #[error("{}: not found, or no checkpoint in it", path.display())]
    Missing {
        /// The path at which it was looked for.
        path: PathBuf,
    },
    /// A file is not what was written: bytes were changed, cut off or removed.
    #[error("{}: {why}", Place(path, file))]
    Damaged {
        /// The checkpoint directory, or the file itself where it stands alone.
        path: PathBuf,
        /// The name of the file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file is whole, but this version cannot store or read it.
    #[error("{}: {why}", path.display())]
    Format {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A tensor could not be copied to host memory, or could not be built.
    #[error("tensor {name}: {source}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What candle said.
        source: candle_core::Error,
    },
}

/// What is damaged: a checkpoint and the file in it, or a file that stands by itself.
struct Place<'a>(&'a Path, &'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path, file) = *self;
        if path.ends_with(file) {
            write!(f, "{} is damaged", path.display())
        } else {
            write!(f, "{} is damaged: {file}", path.display())
        }
    }
}

impl From<WriteError> for StoreError {
    fn from(WriteError { path, source }: WriteError) -> Self {
        Self::Write { path, source }
    }
}

impl StoreError {
    /// Whether writing failed (exit code 73). Otherwise reading failed, or the content is wrong.
    pub fn is_write_failure(&self) -> bool {
        matches!(self, Self::Write { .. })
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    /// Makes the error for a failure to read. A file that is not there gives [`Missing`](Self::Missing).
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path: path.to_owned() },
            _ => Self::Read { path: path.to_owned(), source },
        }
    }

    /// Makes the error for damage in the file at `path`.
    pub(super) fn damaged(file: &Path, why: impl Into<String>) -> Self {
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        let path = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::Damaged { path: path.to_owned(), file: name, why: why.into() }
    }

    /// Damage of a file that belongs to no checkpoint. The error does not name the folder of the file.
    pub(super) fn alone(self, file: &Path) -> Self {
        match self {
            Self::Damaged { file: name, why, .. } => Self::Damaged { path: file.to_owned(), file: name, why },
            other => other,
        }
    }

    pub(super) fn format(path: &Path, why: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), why: why.into() }
    }
}
