//! The errors of patterns that cannot be turned into files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The place where the name of a file was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedBy {
    /// A pattern, or the `@list` itself.
    Pattern(String),
    /// A line of a list.
    Line {
        /// The list.
        list: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamedBy::Pattern(pattern) => write!(f, "{pattern:?}"),
            NamedBy::Line { list, line } => write!(f, "line {line} of {}", list.display()),
        }
    }
}

impl NamedBy {
    /// Words that say what named a path, where that is not plain to see.
    fn after(&self, path: &Path) -> String {
        match self {
            NamedBy::Pattern(pattern) if Path::new(pattern) == path => String::new(),
            by => format!(" (named by {by})"),
        }
    }

    /// Words that say which line of a list named something that the message shows already.
    fn line(&self) -> String {
        match self {
            NamedBy::Pattern(_) => String::new(),
            by @ NamedBy::Line { .. } => format!(" (named by {by})"),
        }
    }
}

/// A pattern that cannot be turned into files.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// No pattern was given.
    #[error("no files are named")]
    NoPatterns,
    /// A glob that matches no file.
    #[error("no file matches {}{}", base.join(pattern).display(), by.line())]
    NoMatch {
        /// The pattern as it was written.
        pattern: String,
        /// The place where the pattern was written.
        by: NamedBy,
        /// The folder to which the pattern is relative.
        base: PathBuf,
    },
    /// A glob that is not well formed.
    #[error("{pattern:?} is not a valid pattern{}: {source}", by.line())]
    BadPattern {
        /// The pattern as it was written.
        pattern: String,
        /// The place where the pattern was written.
        by: NamedBy,
        /// What is wrong with the pattern.
        source: glob::PatternError,
    },
    /// A glob relative to a folder whose name is not UTF-8.
    #[error("{pattern:?} is relative to {}, whose name is not UTF-8", base.display())]
    NotUtf8 {
        /// The pattern as it was written.
        pattern: String,
        /// The folder.
        base: PathBuf,
    },
    /// A file list that names no file.
    #[error("{pattern:?}: the list {} names no file", list.display())]
    EmptyList {
        /// The pattern as it was written.
        pattern: String,
        /// The list.
        list: PathBuf,
    },
    /// A file that is missing or cannot be read, or an address.
    #[error("{}{}: {source}", path.display(), by.after(path))]
    Unreadable {
        /// The place that names it.
        by: NamedBy,
        /// The file, or the folder that cannot be listed.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A folder, or something else that is not a file.
    #[error("{}{} is not a file", path.display(), by.after(path))]
    NotAFile {
        /// The place that names it.
        by: NamedBy,
        /// The thing that is named there.
        path: PathBuf,
    },
    /// A file that would be read twice in an epoch.
    #[error("{} is named twice: by {} and by {}{}", path.display(), .names[0].by, .names[1].by, two_paths(names))]
    Twice {
        /// The file, at the end of all links.
        path: PathBuf,
        /// The name that came first, and the name that came again. Both may come from the same pattern.
        names: Box<[Name; 2]>,
    },
}

/// A name that was given to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Where it was written.
    pub by: NamedBy,
    /// The path that it gave.
    pub path: PathBuf,
}

/// The two paths of one file, where they differ.
fn two_paths(names: &[Name; 2]) -> String {
    let [first, second] = names.each_ref().map(|name| name.path.display());
    if names[0].path == names[1].path {
        String::new()
    } else {
        format!("; {first} and {second} are one file")
    }
}
