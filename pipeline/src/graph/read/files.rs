//! Reading the small text files that make up a graph.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most bytes of a graph or a config. A larger file is some other file.
pub(crate) const LARGEST: usize = 1 << 20;

/// The reason why a file gives no text.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The file cannot be opened or read.
    Io(io::Error),
    /// The file holds more than [`LARGEST`] bytes.
    TooLarge,
    /// The file is not UTF-8 at byte `at`. `text` has replacements for what is not UTF-8.
    NotText { text: String, at: usize },
}

impl Unreadable {
    pub(crate) fn reason(&self) -> String {
        match self {
            // The message leaves out the number that `io::Error` adds for programmers.
            Unreadable::Io(error) => {
                let text = error.to_string();
                text.split(" (os error").next().unwrap_or(&text).to_owned()
            }
            Unreadable::TooLarge => format!("it is larger than {} KiB", LARGEST >> 10),
            Unreadable::NotText { .. } => "it is not UTF-8 text".to_owned(),
        }
    }
}

/// The text of a file, without a byte order mark.
pub(crate) fn read(path: &Path) -> Result<String, Unreadable> {
    read_from(File::open(path).map_err(Unreadable::Io)?)
}

/// The text that a reader gives, without a byte order mark.
pub(crate) fn read_from(reader: impl Read) -> Result<String, Unreadable> {
    let mut bytes = Vec::new();
    reader.take(LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    if bytes.len() > LARGEST {
        return Err(Unreadable::TooLarge);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(without_mark(&text).to_owned()),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(Unreadable::NotText { text: String::from_utf8_lossy(error.as_bytes()).into_owned(), at })
        }
    }
}

/// The text without the byte order mark that some editors write.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
