//! Logs: files that grow by whole lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::input::{Kind, kind_and_length};
use super::place::local;

/// A file that grows as it is written.
pub type Appended = File;

/// Makes a new file and opens it for writing.
///
/// # Errors
/// Something is already there, the file cannot be made, or the path is an address.
pub fn create_new(path: &Path) -> io::Result<Appended> {
    File::create_new(local(path)?)
}

/// Opens a log to add lines at its end. A log that is not there is made.
///
/// # Errors
/// The log cannot be opened or made, what is there is not a regular file, or the path is an address.
pub fn append(path: &Path) -> io::Result<Appended> {
    let path = local(path)?;
    refuse_others(path)?;
    OpenOptions::new().create(true).append(true).open(path)
}

/// Cuts off what a killed process left behind the last end of a line. A log that is not there is not made.
///
/// # Errors
/// The log cannot be read or shortened, what is there is not a regular file, or the path is an address.
pub fn cut_half_line(path: &Path) -> io::Result<()> {
    const BLOCK: u64 = 4096;
    let path = local(path)?;
    refuse_others(path)?;
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let length = file.metadata()?.len();
    let mut end = length;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        (&mut file).take(end - start).read_to_end(&mut block)?;
        if let Some(place) = block.iter().rposition(|byte| *byte == b'\n') {
            end = start + place as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length { file.set_len(end) } else { Ok(()) }
}

/// Refuses what cannot keep lines. Opening a FIFO would also wait for its reader.
fn refuse_others(path: &Path) -> io::Result<()> {
    match kind_and_length(path) {
        Ok((Kind::File, _)) => Ok(()),
        Ok(_) => Err(io::Error::other("what is there is not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_are_added_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        append(&path).unwrap().write_all(b"a\n").unwrap();
        append(&path).unwrap().write_all(b"b\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"a\nb\n");
        append(folder.path()).unwrap_err();
    }

    #[test]
    fn half_a_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        cut_half_line(&path).unwrap();
        assert!(!path.exists());
        let long = "x".repeat(10_000);
        let cases = [
            ("", ""),
            ("half", ""),
            ("a\n", "a\n"),
            ("a\nhalf", "a\n"),
            (&format!("{long}\n{long}"), &format!("{long}\n")),
        ];
        for (before, after) in cases {
            fs::write(&path, before).unwrap();
            cut_half_line(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }
}
