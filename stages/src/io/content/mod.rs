//! The kind of a file, which its first bytes tell.
//!
//! Laws: the content decides, never the name. A kind is named only where its own mark is there. This serves messages
//! and the choice of a reader. Only the reader says whether a file is whole and good.

mod kind;
mod marks;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;

use super::{framing, input};

pub use kind::Content;

/// The number of a file's first bytes that are enough for [`Content::of`].
pub const HEAD_BYTES: usize = 4096;

/// The number of bytes that [`begins_with`] shows.
const SHOWN_BYTES: usize = 16;

impl Content {
    /// The kind of a file that begins with these bytes, [`HEAD_BYTES`] of them unless it is shorter. `None` where no
    /// mark is known.
    pub fn of(head: &[u8]) -> Option<Self> {
        // A record's length may look like any mark, so a length whose CRC agrees is looked for first.
        if framing::is_header(head) {
            return Some(Self::Records);
        }
        marks::binary(head).or_else(|| marks::message(head)).or_else(|| marks::text(head))
    }

    /// The kind of a file, from its first [`HEAD_BYTES`]. `None` for a directory and where no mark is known.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn of_file(path: &Path) -> io::Result<Option<Self>> {
        if path.is_dir() {
            return Ok(None);
        }
        Ok(Self::of(&read_head(path)?))
    }
}

/// The first [`HEAD_BYTES`] of a file, or all of a shorter one.
///
/// # Errors
/// The file cannot be opened or read.
pub fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input::open(path)?.reader.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The first bytes of a file of no known kind, for a message: in hexadecimal, and as text where they are ASCII.
pub fn begins_with(head: &[u8]) -> String {
    let shown = &head[..head.len().min(SHOWN_BYTES)];
    let mut text = String::from("it begins with the bytes");
    for byte in shown {
        // A write to a String cannot fail.
        let _ = write!(text, " {byte:02x}");
    }
    let ascii = shown.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    });
    let _ = write!(text, " ({:?} as text)", ascii.collect::<String>());
    text
}
