//! Files that appear whole.
//!
//! Law: under the final name there is either what was there before, or the whole new file.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::list::list;
use super::target::Target;

const BUFFER: usize = 1 << 18;

/// The error for something that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    /// The path that was to be written.
    pub path: PathBuf,
    /// What the operating system said, or why the path is refused.
    pub source: io::Error,
}

impl WriteError {
    /// Makes the error of a path from what the operating system said.
    pub fn at(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self { path: path.clone(), source }
    }
}

/// A file that is written beside its target, and that [`commit`](Self::commit) renames onto the target.
///
/// When it is dropped without a commit (by an error or a panic), it removes what it wrote, and the target is as before.
/// After a crash, a file `.NAME.tmp-PID-N` may remain, which may be deleted.
#[derive(Debug)]
pub struct AtomicFile {
    /// The path as the caller wrote it, for messages.
    named: PathBuf,
    /// The file that is replaced, at the end of all links.
    target: PathBuf,
    temporary: PathBuf,
    /// The file; `None` once it is committed.
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Opens a temporary file in the folder of `target`, which must exist. A symbolic link is followed: the file that
    /// it leads to is replaced, and the link stays.
    ///
    /// # Errors
    /// [`WriteError`] if the temporary file cannot be made, or if what `target` leads to may not be replaced.
    pub fn create(target: &Path) -> Result<Self, WriteError> {
        match Target::of(target).map_err(WriteError::at(target))? {
            Target::File { path, replaced } => Self::replacing(target, path, replaced),
            Target::Stream(_) | Target::StandardOutput => {
                let why = "a file belongs there, and what is there is a stream";
                Err(WriteError::at(target)(io::Error::other(why)))
            }
        }
    }

    /// Opens a temporary file as [`create`](Self::create) does, when it is known that `named` leads to the file
    /// `target`.
    pub(super) fn replacing(
        named: &Path,
        target: PathBuf,
        replaced: Option<Permissions>,
    ) -> Result<Self, WriteError> {
        let failed = WriteError::at(named);
        let temporary = hidden_name(&target, "tmp")?;
        let file = File::create_new(&temporary).map_err(&failed)?;
        let file = BufWriter::with_capacity(BUFFER, file);
        let created = Self { named: named.to_owned(), target, temporary, file: Some(file) };
        if let Some(permissions) = replaced {
            keep_permissions(&created.temporary, permissions).map_err(failed)?;
        }
        Ok(created)
    }

    /// Flushes the file to the disk and renames it onto the target.
    ///
    /// # Errors
    /// [`WriteError`] if the rest cannot be written or the file cannot be renamed. The target is then as it was before.
    pub fn commit(mut self) -> Result<(), WriteError> {
        let mut file = self.file.take().expect("only commit, which consumes the file, takes it");
        let outcome = file
            .flush()
            .and_then(|()| file.get_ref().sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.target))
            .and_then(|()| sync_parent(&self.target))
            .map_err(WriteError::at(&self.named));
        // The buffer is taken off, because dropping it after a failed flush would try once more.
        drop(file.into_parts());
        if outcome.is_err() {
            // The first error is the one to report. After the rename, there is nothing to remove.
            let _ = fs::remove_file(&self.temporary);
        }
        outcome
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
            // Nobody will read this file, so it is not flushed.
            drop(file.into_parts());
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// The permissions of a file that is replaced, which its successor gets. Whoever could not read the old file must not
/// be able to read the new one.
fn keep_permissions(successor: &Path, permissions: Permissions) -> io::Result<()> {
    #[cfg(unix)]
    let permissions = {
        use std::os::unix::fs::PermissionsExt as _;
        // These bits say who may read, write and execute. Special bits are left out.
        Permissions::from_mode(permissions.mode() & 0o777)
    };
    fs::set_permissions(successor, permissions)
}

/// Writes a small file whole or not at all.
///
/// # Errors
/// The errors of [`AtomicFile`].
pub fn write_file(target: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = AtomicFile::create(target)?;
    file.write_all(bytes).map_err(WriteError::at(target))?;
    file.commit()
}

/// Removes the files `.NAME.tmp-PID-N` that killed processes left in a directory. Call this only for a directory that
/// no other process writes to.
///
/// # Errors
/// [`WriteError`] if the directory cannot be listed or a file in it cannot be removed.
pub fn remove_unfinished(directory: &Path) -> Result<(), WriteError> {
    for path in list(directory).map_err(WriteError::at(directory))? {
        let is_ours = path.file_name().and_then(OsStr::to_str).is_some_and(is_temporary);
        if is_ours && path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            fs::remove_file(&path).map_err(WriteError::at(&path))?;
        }
    }
    Ok(())
}

/// Whether a name is one that [`AtomicFile`] gives to its temporary files.
fn is_temporary(name: &str) -> bool {
    let split = || {
        let (name, numbers) = name.strip_prefix('.')?.rsplit_once(".tmp-")?;
        let (process, number) = numbers.split_once('-')?;
        Some([process, number].iter().all(|n| n.parse::<u64>().is_ok()) && !name.is_empty())
    };
    split().unwrap_or(false)
}

/// The path `.NAME.KIND-PID-N` beside `target`. It is hidden, and unique among the processes of one machine and their
/// threads.
///
/// # Errors
/// [`WriteError`] if the path does not end in a name.
pub(crate) fn hidden_name(target: &Path, kind: &str) -> Result<PathBuf, WriteError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unnamed = || WriteError::at(target)(io::Error::other("the path does not end in a name"));
    let name = target.file_name().ok_or_else(unnamed)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{kind}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    Ok(target.with_file_name(hidden))
}

/// Flushes the entries of a directory to the disk, so that not only the content of its files lasts.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    // On other systems, directories cannot be opened as files, and renaming is as durable as the system makes it.
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

/// Flushes the name of `path` to the disk.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
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
        // This is what a process leaves that ends without running destructors.
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
    fn what_cannot_be_a_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = write_file(&file.join("below"), b"y").unwrap_err();
        assert!(error.to_string().contains("below"), "{error}");
        // Nothing stays behind where a directory stands in the way.
        let occupied = directory.path().join("occupied");
        fs::create_dir(&occupied).unwrap();
        let error = write_file(&occupied, b"y").unwrap_err();
        assert!(error.to_string().ends_with("occupied: what is there is a directory, not a file"), "{error}");
        assert_eq!(names(directory.path()), ["file", "occupied"]);
    }
}
