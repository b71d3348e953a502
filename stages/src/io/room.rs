//! The room for outputs: whether a directory can be written to, and how many bytes are free there. Nothing is changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use framewise_pipeline::is_glob;

use super::place::local;
use super::target::follow;

/// A file system, and the room in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The file system, by the number that the operating system gives it.
    pub file_system: u64,
    /// The bytes that this user can still write there. `None` where the operating system does not tell.
    pub free: Option<u64>,
}

/// Looks whether files could be written into `directory`, which need not be there yet, and how much room there is.
///
/// # Errors
/// What is there is not a directory, it cannot be written to or made, or the path is an address.
pub fn room_in(directory: &Path) -> io::Result<Room> {
    let path = match follow(local(directory)?) {
        // The file on the way is named below.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => directory.to_owned(),
        path => path?,
    };
    let path = std::path::absolute(&path)?;
    let there = path.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?)));
    let (path, metadata) = there.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    if !metadata.is_dir() {
        return Err(io::Error::other(format!("{} is not a directory", path.display())));
    }
    check_writable(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    room_of(path, &metadata)
}

/// The bytes of all regular files in a directory and below it. Links are not followed, so each file counts once and no
/// link leads out or around. What cannot be looked at counts as nothing.
pub fn bytes_in(directory: &Path) -> u64 {
    let mut waiting = vec![directory.to_owned()];
    let mut sum = 0;
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => waiting.push(entry.path()),
                Ok(found) if found.is_file() => sum += found.len(),
                _ => {}
            }
        }
    }
    sum
}

/// The outermost directory on the way to `path` that is not there, if there is one. The end of the path may be a
/// pattern.
pub fn missing_directory(path: &Path) -> Option<PathBuf> {
    let is_plain = |path: &&Path| !is_glob(&path.to_string_lossy());
    let missing = path.ancestors().skip(1).filter(is_plain).take_while(|path| !path.exists());
    missing.last().filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned)
}

#[cfg(unix)]
fn check_writable(directory: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
}

#[cfg(not(unix))]
fn check_writable(directory: &Path) -> io::Result<()> {
    if directory.metadata()?.permissions().readonly() {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    Ok(())
}

#[cfg(unix)]
fn room_of(directory: &Path, metadata: &fs::Metadata) -> io::Result<Room> {
    use std::os::unix::fs::MetadataExt as _;
    let free = rustix::fs::statvfs(directory)?;
    Ok(Room { file_system: metadata.dev(), free: Some(free.f_bavail.saturating_mul(free.f_frsize)) })
}

#[cfg(not(unix))]
fn room_of(_directory: &Path, _metadata: &fs::Metadata) -> io::Result<Room> {
    Ok(Room { file_system: 0, free: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_has_the_room_of_the_one_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let room = room_in(folder.path()).unwrap();
        assert_eq!(room_in(&folder.path().join("a/b/c")).unwrap().file_system, room.file_system);
        fs::write(folder.path().join("file"), "").unwrap();
        for name in ["file", "file/below"] {
            let error = room_in(&folder.path().join(name)).unwrap_err().to_string();
            assert!(error.ends_with("file is not a directory"), "{error}");
        }
        assert_eq!(room_in(Path::new("s3://bucket")).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn the_bytes_of_a_directory_are_those_of_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/three"), "123").unwrap();
        fs::write(folder.path().join("four"), "1234").unwrap();
        assert_eq!(bytes_in(folder.path()), 7);
        assert_eq!(bytes_in(&folder.path().join("none")), 0);
    }

    /// `df` asks the same system call, through the C library.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_free_bytes_are_those_of_df() {
        let folder = tempfile::tempdir().unwrap();
        let df = std::process::Command::new("df").args(["-B1", "--output=avail"]).arg(folder.path()).output();
        let df = String::from_utf8(df.unwrap().stdout).unwrap();
        let expected: f64 = df.lines().last().unwrap().trim().parse().unwrap();
        let free = room_in(folder.path()).unwrap().free.unwrap() as f64;
        // Other processes write at the same time.
        assert!((free - expected).abs() <= 0.05 * expected + 1e9, "{free} against {expected}");
    }

    #[test]
    fn the_outermost_directory_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("a")).unwrap();
        assert_eq!(missing_directory(&at("a/x*")), None);
        assert_eq!(missing_directory(&at("b/c/x*")), Some(at("b")));
        assert_eq!(missing_directory(&at("a/[bc]/x")), None);
        assert_eq!(missing_directory(&at("a/b/x.tfrecord")), Some(at("a/b")));
    }
}
