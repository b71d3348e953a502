//! Reading the small text files that make up a graph.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A graph or config larger than this is some other file.
pub(crate) const LARGEST: usize = 1 << 20;

/// Why a file gives no text.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It cannot be opened or read.
    Io(io::Error),
    /// It holds more than [`LARGEST`] bytes.
    TooLarge,
    /// It is not UTF-8 from this byte on; the text has replacements there.
    NotText { text: String, at: usize },
}

impl Unreadable {
    pub(crate) fn reason(&self) -> String {
        match self {
            // Without the number that `io::Error` adds for programmers.
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
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST as u64 + 1).read_to_end(&mut bytes))
        .map_err(Unreadable::Io)?;
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
