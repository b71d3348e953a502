//! Files without a name, for what a process only keeps for a while.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use super::atomic::hidden_name;

/// Opens an empty file for writing and reading, which is gone when it is closed, however the process ends. It lies in
/// `directory`, or in the system's directory for temporary files.
///
/// # Errors
/// The file cannot be made.
pub(crate) fn scratch(directory: Option<&Path>) -> io::Result<File> {
    let system = std::env::temp_dir();
    let beside = directory.unwrap_or(&system).join("scratch");
    let path = hidden_name(&beside, "tmp").map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    // Where an open file cannot be removed, it stays behind.
    let _ = fs::remove_file(&path);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_no_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = scratch(Some(folder.path())).unwrap();
        file.write_all(b"kept").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), usize::from(!cfg!(unix)));
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "kept");
    }
}
