//! The lock on a directory to which a run writes.
//!
//! Laws: only one of two processes holds the lock. The lock is released when its holder ends, however the holder ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use framewise_pipeline::Failure;

use crate::exit::cannot_write;

/// The name of the file that is locked. The file stays when the run has ended; what counts is whether a process holds
/// the lock.
pub(crate) const LOCK: &str = ".lock";

/// A lock, which is held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    /// The file system has no locks, so nothing keeps a second run out.
    pub(crate) unsupported: bool,
}

impl Lock {
    /// Locks `directory`, which must exist.
    ///
    /// # Errors
    /// `CannotWrite` when another process holds the lock, which the error names if it is known, or when the file cannot
    /// be written.
    pub(crate) fn take(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join(LOCK);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|e| cannot_write(&path, &e))?;
        let unsupported = match file.try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => return Err(in_use(directory, &mut file)),
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => true,
            Err(TryLockError::Error(error)) => return Err(cannot_write(&path, &error)),
        };
        let mut note = || -> io::Result<()> {
            file.set_len(0)?;
            file.write_all(format!("{}\n", std::process::id()).as_bytes())
        };
        note().map_err(|e| cannot_write(&path, &e))?;
        Ok(Self { _file: file, unsupported })
    }
}

/// Whether a process runs in `directory`. Nothing is written there. The question takes a shared lock for a moment, so a run
/// that is resumed in just this moment may be refused.
pub(crate) fn is_locked(directory: &Path) -> bool {
    let path = directory.join(LOCK);
    // Opening anything but a regular file could wait for ever.
    if !path.is_file() {
        return false;
    }
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn in_use(directory: &Path, file: &mut File) -> Failure {
    let mut text = String::new();
    // On systems where a locked file cannot be read, the holder is not known.
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    let holder = read.ok().and_then(|_| text.trim().parse::<u32>().ok());
    let holder = holder.map_or("another process".to_owned(), |pid| format!("process {pid}"));
    let directory = directory.display();
    Failure::cannot_write(format!(
        "{directory} is in use: {holder} is running there; wait until it has ended, or stop it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let first = Lock::take(temp.path()).unwrap();
        let refused = Lock::take(temp.path()).unwrap_err();
        assert_eq!(refused.kind.exit_code(), 73);
        let holder = format!("process {} is running there", std::process::id());
        assert!(refused.to_string().contains(&holder), "{refused}");
        assert!(is_locked(temp.path()));
        drop(first);
        assert!(!is_locked(temp.path()) && !is_locked(&temp.path().join("nowhere")));
        // A file that an earlier run left does not matter, and neither does its text.
        std::fs::write(temp.path().join(LOCK), "a much longer text than a number\n").unwrap();
        let again = Lock::take(temp.path()).unwrap();
        assert!(!again.unsupported);
        assert_eq!(
            std::fs::read_to_string(temp.path().join(LOCK)).unwrap(),
            format!("{}\n", std::process::id())
        );
    }
}
