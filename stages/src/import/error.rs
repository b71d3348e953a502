//! The errors of an import. Every variant names the file.

use std::io;
use std::path::{Path, PathBuf};

/// The reason why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is damaged or has no known format, or its tensors do not make the model.
    #[error("{}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file. The text names the tensor and both shapes, or the byte.
        why: String,
    },
    /// A name map is wrong.
    #[error("{}: {why}", path.display())]
    Map {
        /// The map.
        path: PathBuf,
        /// What is wrong with the map.
        why: String,
    },
}

impl ImportError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    pub(super) fn content(path: &Path, why: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), why: why.into() }
    }

    pub(super) fn map(path: &Path, why: impl Into<String>) -> Self {
        Self::Map { path: path.to_owned(), why: why.into() }
    }
}

/// A name from a file in the form in which messages show it: no longer than a line, and without control characters.
pub(super) fn shown(name: &str) -> String {
    const LONGEST: usize = 80;
    let mut text: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if name.chars().nth(LONGEST).is_some() {
        text.push('…');
    }
    text
}
