//! Writing many files, all of them or none.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use framewise_pipeline::Failure;

use crate::directories::{create_all, remove_created};
use crate::exit::cannot_write;

/// A file of a project, as its path in the project (with `/` between the parts) and its content.
pub(super) type File = (&'static str, Vec<u8>);

/// Writes the files into a directory, which is made. When one cannot be written, everything that was made is removed.
///
/// # Errors
/// `CannotWrite` when the directory is not empty or something cannot be written. The error names the path.
pub(super) fn write_all(directory: &Path, files: &[File]) -> Result<(), Failure> {
    let mut made = Made::default();
    made.directory(directory)?;
    let mut entries = fs::read_dir(directory).map_err(|e| cannot_write(directory, &e))?;
    if entries.next().is_some() {
        let directory = directory.display();
        return Err(Failure::cannot_write(format!(
            "{directory} holds files already; name a directory that is new or empty"
        )));
    }
    for (name, content) in files {
        made.file(&directory.join(name), content)?;
    }
    made.keep();
    Ok(())
}

/// What was made so far. When this is dropped, it is removed again.
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    /// The directories that were made, the innermost first.
    directories: Vec<PathBuf>,
}

impl Made {
    fn directory(&mut self, path: &Path) -> Result<(), Failure> {
        let created = create_all(path).map_err(|e| cannot_write(path, &e))?;
        self.directories.splice(0..0, created);
        Ok(())
    }

    fn file(&mut self, path: &Path, content: &[u8]) -> Result<(), Failure> {
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        let mut file = fs::File::create_new(path).map_err(|e| cannot_write(path, &e))?;
        self.files.push(path.to_owned());
        let written = file.write_all(content).and_then(|()| file.sync_all());
        written.map_err(|e: io::Error| cannot_write(path, &e))
    }

    fn keep(mut self) {
        self.files.clear();
        self.directories.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for file in &self.files {
            // A file that cannot be removed keeps its directory. The error that led here is the one that is reported.
            let _ = fs::remove_file(file);
        }
        // Each directory stands before the directories in which it lies. Behind a directory that is not empty, none can
        // be removed.
        for directory in &self.directories {
            remove_created(std::slice::from_ref(directory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_or_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let project = temp.path().join("deep/project");
        let file = |name| (name, b"text".to_vec());
        // The last file would lie below a file, which is not possible.
        let failure = write_all(&project, &[file("a/b/c"), file("d"), file("a/e"), file("d/f")]).unwrap_err();
        assert_eq!(failure.kind.exit_code(), 73);
        assert!(failure.to_string().contains("project/d"), "{failure}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);

        write_all(&project, &[file("a/b/c"), file("d")]).unwrap();
        assert_eq!(fs::read(project.join("a/b/c")).unwrap(), b"text");
        let failure = write_all(&project, &[file("x")]).unwrap_err();
        assert_eq!(failure.kind.exit_code(), 73);
        assert!(failure.to_string().contains("holds files already"), "{failure}");
        assert_eq!(fs::read(project.join("d")).unwrap(), b"text");
    }

    #[test]
    fn an_empty_directory_is_taken_and_stays_after_a_failure() {
        let temp = tempfile::tempdir().unwrap();
        let file = |name| (name, Vec::new());
        write_all(temp.path(), &[file("a"), file("a/b")]).unwrap_err();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        write_all(temp.path(), &[file("a")]).unwrap();
    }
}
