//! Files that appear whole. The one law: under the final name there is what was there before, or everything.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::StoreError;

const BUFFER: usize = 1 << 18;

/// A file written beside its target and renamed onto it by [`commit`](Self::commit).
///
/// Dropped without a commit (an error, a panic), it removes what it wrote and the target is as before. After a
/// crash a file `.NAME.tmp-PID-N` may remain, which may be deleted.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    temporary: PathBuf,
    /// `None` once committed.
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Opens a temporary file in the folder of `target`, which must exist.
    pub fn create(target: &Path) -> Result<Self, StoreError> {
        let temporary = temporary_name(target, "tmp")?;
        let file = File::create(&temporary).map_err(StoreError::write(target))?;
        let file = Some(BufWriter::with_capacity(BUFFER, file));
        Ok(Self { target: target.to_owned(), temporary, file })
    }

    /// Where the file will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Flushes to the disk and renames onto the target.
    pub fn commit(mut self) -> Result<(), StoreError> {
        let mut file = self.file.take().expect("only commit, which consumes the file, takes it");
        let outcome = file
            .flush()
            .and_then(|()| file.get_ref().sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.target))
            .map_err(StoreError::write(&self.target));
        // Without its buffer: after a failed flush, dropping it would try once more.
        drop(file.into_parts());
        if outcome.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&self.temporary);
            return outcome;
        }
        sync_parent(&self.target)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().expect("present until commit").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().expect("present until commit").flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // Without flushing what nobody will read.
            drop(file.into_parts());
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a small file whole or not at all.
pub fn write_file(target: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = AtomicFile::create(target)?;
    file.write_all(bytes).map_err(StoreError::write(target))?;
    file.commit()
}

/// Removes the files `.NAME.tmp-PID-N` that killed processes left in a directory. Only for one that no other process
/// writes to.
pub fn remove_unfinished(directory: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(directory).map_err(StoreError::read(directory))? {
        let path = entry.map_err(StoreError::read(directory))?.path();
        let is_ours = path.file_name().and_then(OsStr::to_str).is_some_and(is_temporary);
        if is_ours && path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            fs::remove_file(&path).map_err(StoreError::write(&path))?;
        }
    }
    Ok(())
}

/// Whether [`AtomicFile`] gives such names.
fn is_temporary(name: &str) -> bool {
    let split = || {
        let (name, numbers) = name.strip_prefix('.')?.rsplit_once(".tmp-")?;
        let (process, number) = numbers.split_once('-')?;
        Some([process, number].iter().all(|n| n.parse::<u64>().is_ok()) && !name.is_empty())
    };
    split().unwrap_or(false)
}

/// `.NAME.KIND-PID-N` beside `target`: hidden, and unique among the processes of one machine and their threads.
pub(super) fn temporary_name(target: &Path, kind: &str) -> Result<PathBuf, StoreError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = target.file_name().ok_or_else(|| StoreError::format(target, "not a file name"))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{kind}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    Ok(target.with_file_name(hidden))
}

/// Makes the entries of a directory last, not only the content of its files.
pub(super) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    // Elsewhere directories cannot be opened as files, and renaming is as durable as the system makes it.
    if cfg!(unix) {
        File::open(directory).and_then(|file| file.sync_all()).map_err(StoreError::write(directory))?;
    }
    Ok(())
}

/// Makes the name of `path` last.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn appears_on_commit_and_replaces_whole() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("out.csv");
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"first").unwrap();
        assert!(!target.exists());
        assert_eq!(file.target(), target);
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"first");
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"2").unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"first");
        file.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"2");
        assert_eq!(names(directory.path()), ["out.csv"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        let file = AtomicFile::create(&place("out.csv")).unwrap();
        // As a process leaves it that ends without running destructors.
        std::mem::forget(file);
        let others =
            [".lock", ".out.csv.tmp-", ".out.csv.tmp-1", ".tmp-1-2", "out.csv.tmp-1-2", ".out.csv.tmp-x-1"];
        others.iter().for_each(|name| fs::write(place(name), "mine").unwrap());
        fs::create_dir(place(".step.tmp-1-2")).unwrap();
        assert_eq!(names(directory.path()).len(), others.len() + 2);
        remove_unfinished(directory.path()).unwrap();
        let mut left = [&others[..], &[".step.tmp-1-2"]].concat();
        left.sort_unstable();
        assert_eq!(names(directory.path()), left);
    }

    #[test]
    fn dropped_leaves_nothing_and_two_writers_do_not_meet() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("out");
        let mut first = AtomicFile::create(&target).unwrap();
        let mut second = AtomicFile::create(&target).unwrap();
        first.write_all(&vec![1; BUFFER * 2]).unwrap();
        second.write_all(&[2; 10]).unwrap();
        assert_eq!(names(directory.path()).len(), 2);
        drop(first);
        second.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), [2; 10]);
        assert_eq!(names(directory.path()), ["out"]);
    }

    #[test]
    fn a_folder_that_is_a_file_is_a_write_failure() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = write_file(&file.join("below"), b"y").unwrap_err();
        assert!(error.is_write_failure() && error.to_string().contains("below"), "{error}");
        // A target that is a directory fails at the rename; nothing stays behind.
        let occupied = directory.path().join("occupied");
        fs::create_dir(&occupied).unwrap();
        assert!(write_file(&occupied, b"y").unwrap_err().is_write_failure());
        assert_eq!(names(directory.path()), ["file", "occupied"]);
    }
}
