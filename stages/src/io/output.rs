//! Outputs: a writer writes to a file that appears whole, or to a stream.

use std::fs::File;
use std::io::{self, Stdout, Write};
use std::path::{Path, PathBuf};

use super::atomic::{AtomicFile, WriteError};
use super::target::{STANDARD_OUTPUT, Target, open_stream};

/// An output that [`create`] opened and that [`commit`](Self::commit) completes.
///
/// When an output is dropped without a commit, a file stays as it was before. What was written to a stream cannot be
/// taken back.
#[derive(Debug)]
pub struct Output {
    /// The path as the caller wrote it, for messages.
    named: PathBuf,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    File(AtomicFile),
    // There is no buffer, so that a reader at the other end gets each piece when it is written.
    Stream(File),
    StandardOutput(Stdout),
}

/// Opens the output that a path names. A file appears when it is complete. A FIFO, a character device, an open
/// descriptor (`/dev/fd/3`) and standard output (`-`, `/dev/stdout`) are written through. Symbolic links are followed.
/// Opening a FIFO waits for its reader.
///
/// # Errors
/// [`WriteError`] if the output cannot be opened, or if what is there must not be written: a directory, a socket, a
/// block device or a read-only file.
pub fn create(path: &Path) -> Result<Output, WriteError> {
    let failed = WriteError::at(path);
    let sink = match Target::of(path) {
        Ok(Target::File { path: real, replaced }) => Sink::File(AtomicFile::replacing(path, real, replaced)?),
        Ok(Target::Stream(real)) => Sink::Stream(open_stream(&real).map_err(failed)?),
        Ok(Target::StandardOutput) => Sink::StandardOutput(io::stdout()),
        Err(error) => return Err(failed(error)),
    };
    Ok(Output { named: path.to_owned(), sink })
}

/// Whether a path asks for standard output by the name `-`, which lies in no directory.
pub fn is_standard_output(path: &Path) -> bool {
    path == Path::new(STANDARD_OUTPUT)
}

/// The kind of output that [`create`] would write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A file that appears whole.
    File,
    /// A stream that is written through.
    Stream,
    /// This process's standard output.
    StandardOutput,
}

/// Looks at what [`create`] would write to, and refuses what it would refuse. Nothing is changed.
///
/// # Errors
/// The errors of [`create`], as far as they can be known beforehand.
pub fn way_to(path: &Path) -> Result<Way, WriteError> {
    match Target::of(path).map_err(WriteError::at(path))? {
        Target::File { .. } => Ok(Way::File),
        Target::Stream(_) => Ok(Way::Stream),
        Target::StandardOutput => Ok(Way::StandardOutput),
    }
}

impl Output {
    /// Completes the output. A file is flushed to the disk and appears under its name. A stream gets what is left.
    ///
    /// # Errors
    /// [`WriteError`] if the rest cannot be written. A file is then as it was before.
    pub fn commit(self) -> Result<(), WriteError> {
        match self.sink {
            Sink::File(file) => file.commit(),
            Sink::Stream(mut stream) => stream.flush().map_err(WriteError::at(&self.named)),
            Sink::StandardOutput(mut stdout) => stdout.flush().map_err(WriteError::at(&self.named)),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::File(file) => file.write(bytes),
            Sink::Stream(stream) => stream.write(bytes),
            Sink::StandardOutput(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::File(file) => file.flush(),
            Sink::Stream(stream) => stream.flush(),
            Sink::StandardOutput(stdout) => stdout.flush(),
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::process::Command;

    use super::*;

    fn write(path: &Path, text: &str) -> Result<(), WriteError> {
        let mut output = create(path)?;
        output.write_all(text.as_bytes()).map_err(WriteError::at(path))?;
        output.commit()
    }

    #[test]
    fn a_link_stays_and_the_file_behind_it_appears_whole() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("sub/file"), "old").unwrap();
        fs::set_permissions(at("sub/file"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("sub/file", at("link")).unwrap();
        symlink("sub/new", at("dangling")).unwrap();

        let mut output = create(&at("link")).unwrap();
        output.write_all(b"new").unwrap();
        output.flush().unwrap();
        assert_eq!(fs::read(at("sub/file")).unwrap(), b"old");
        // The temporary file lies beside the file that is replaced, on the same file system.
        assert_eq!(fs::read_dir(at("sub")).unwrap().count(), 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        output.commit().unwrap();
        assert_eq!(fs::read(at("sub/file")).unwrap(), b"new");
        assert_eq!(fs::metadata(at("sub/file")).unwrap().permissions().mode() & 0o777, 0o600);
        write(&at("dangling"), "made").unwrap();
        assert_eq!(fs::read(at("sub/new")).unwrap(), b"made");
        for link in ["link", "dangling"] {
            assert!(at(link).symlink_metadata().unwrap().is_symlink());
        }

        drop(create(&at("link")).unwrap());
        assert_eq!(fs::read(at("link")).unwrap(), b"new");
        assert_eq!(fs::read_dir(at("sub")).unwrap().count(), 2);
    }

    #[test]
    fn a_read_only_file_and_a_directory_are_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("directory")).unwrap();
        fs::write(at("file"), "mine").unwrap();
        fs::set_permissions(at("file"), fs::Permissions::from_mode(0o444)).unwrap();
        for name in ["file", "directory"] {
            let error = write(&at(name), "x").unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot write {}: ", at(name).display())), "{error}");
        }
        assert_eq!(fs::read(at("file")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_fifo_hands_on_each_piece_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let reader = {
            let fifo = fifo.clone();
            std::thread::spawn(move || fs::read(fifo).unwrap())
        };
        write(&fifo, "through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        assert_eq!(way_to(&fifo).unwrap(), Way::Stream);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_reader_that_goes_away_is_a_broken_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let reader = {
            let fifo = fifo.clone();
            std::thread::spawn(move || fs::File::open(fifo).unwrap())
        };
        let mut output = create(&fifo).unwrap();
        drop(reader.join().unwrap());
        assert_eq!(output.write_all(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
