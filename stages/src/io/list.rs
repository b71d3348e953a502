//! The entries of a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::place::local;

/// The paths of all entries of a directory, sorted, so that their order never depends on the file system.
///
/// # Errors
/// There is no such directory, it cannot be listed, or the path is an address.
pub fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(local(directory)?)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["c", "a", "b10", "b9"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("aa")).unwrap();
        let paths = list(folder.path()).unwrap();
        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a", "aa", "b10", "b9", "c"]);
        assert_eq!(list(&folder.path().join("a")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(list(Path::new("gs://bucket")).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
