//! Targets: where the bytes go that are written to a path. This is decided here for every writer.
//!
//! | What the path leads to | What happens |
//! |---|---|
//! | nothing | A file is made. |
//! | a regular file | The file is replaced once its successor is complete. A file without write permission is refused, although its directory would let it be replaced. |
//! | a symbolic link | The link is followed, and stays. For a link to nothing, the file that it names is made. Links in a circle are refused. |
//! | a FIFO, a character device, `/dev/stdout`, `/dev/fd/N`, or `-` for standard output | The bytes are written through as they come. |
//! | anything else | A directory, a socket or a block device is refused by name. |

use std::fs::{self, File, FileType, OpenOptions, Permissions};
use std::io;
use std::path::{Path, PathBuf};

use super::place::local;

/// The path that asks for standard output.
pub(super) const STANDARD_OUTPUT: &str = "-";
/// The most links that are followed, which is Linux's limit.
const MOST_LINKS: usize = 40;

/// The place to which the bytes go.
#[derive(Debug)]
pub(super) enum Target {
    /// The bytes go to a file at this path, which is not a link. The file has the permissions of the file that it
    /// replaces.
    File { path: PathBuf, replaced: Option<Permissions> },
    /// The bytes are written through to what is at this path.
    Stream(PathBuf),
    /// The bytes go to this process's standard output.
    StandardOutput,
}

impl Target {
    /// Finds what `path` leads to. Nothing is changed, and nothing is opened for writing except a file that is already
    /// there.
    ///
    /// # Errors
    /// Nothing may be written there. The error gives the reason.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        if path == Path::new(STANDARD_OUTPUT) {
            return Ok(Target::StandardOutput);
        }
        let mut path = local(path)?.to_owned();
        for _ in 0..MOST_LINKS {
            match descriptor(&path) {
                Some(Descriptor::StandardOutput) => return Ok(Target::StandardOutput),
                Some(Descriptor::Other) => return Ok(Target::Stream(path)),
                None => {}
            }
            match next(&path)? {
                Some(there) => path = there,
                None => return Self::at(path),
            }
        }
        Err(circle())
    }

    /// Finds what `path` leads to as [`of`](Self::of) does. The path must not be a link.
    fn at(path: PathBuf) -> io::Result<Self> {
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return new_file(path),
            metadata => metadata?,
        };
        let kind = metadata.file_type();
        if kind.is_file() {
            check_writable(&path, &metadata.permissions())?;
            Ok(Target::File { path, replaced: Some(metadata.permissions()) })
        } else if is_stream(kind) {
            Ok(Target::Stream(path))
        } else {
            Err(io::Error::other(format!("what is there is {}, not a file", in_words(kind))))
        }
    }
}

/// The place to which a path leads when all links at its end are followed. Nothing need be there.
///
/// # Errors
/// The links lead in a circle, or a link cannot be read.
pub(super) fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match next(&path)? {
            Some(there) => path = there,
            None => return Ok(path),
        }
    }
    Err(circle())
}

/// The place to which the link at `path` leads. It is `None` if there is no link.
fn next(path: &Path) -> io::Result<Option<PathBuf>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => {
            // The text of a link is relative to the directory that holds the link.
            Ok(Some(path.parent().unwrap_or(Path::new("")).join(fs::read_link(path)?)))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(None),
    }
}

fn circle() -> io::Error {
    let why = format!("its symbolic links lead in a circle, or there are more than {MOST_LINKS} of them");
    io::Error::other(why)
}

fn new_file(path: PathBuf) -> io::Result<Target> {
    match path.file_name() {
        Some(_) => Ok(Target::File { path, replaced: None }),
        None => Err(io::Error::other("the path does not end in the name of a file")),
    }
}

/// Refuses a file that may not be written. The directory decides whether the file could be replaced, and the superuser
/// may do everything, so the file's own permission is asked first.
fn check_writable(path: &Path, permissions: &Permissions) -> io::Result<()> {
    if permissions.readonly() {
        let why = "the file is there and is read-only; make it writable, remove it, or name another";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    // The file is neither cut short nor made, so nothing changes.
    OpenOptions::new().write(true).open(path).map(drop)
}

/// Opens a stream to which bytes are written through. Opening a FIFO waits for its reader.
pub(super) fn open_stream(path: &Path) -> io::Result<File> {
    // The stream is written at its end and is not cut short, because a descriptor may stand for a file with other
    // output.
    OpenOptions::new().append(true).open(path)
}

enum Descriptor {
    StandardOutput,
    Other,
}

/// The open descriptor that a path such as `/dev/fd/3` stands for. On Linux the path looks like a link to a file. That
/// file must not be replaced, because others write to it too.
fn descriptor(path: &Path) -> Option<Descriptor> {
    if path == Path::new("/dev/stdout") {
        return Some(Descriptor::StandardOutput);
    }
    let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
    let folder = path.parent()?;
    let real = fs::canonicalize(folder).ok()?;
    let owner = real.strip_prefix("/proc").ok().and_then(|rest| rest.to_str()?.strip_suffix("/fd"));
    let ours = match owner {
        // `/proc/self/task/N/fd` is the same table seen from a thread.
        Some(owner) => owner.split('/').next() == Some(std::process::id().to_string().as_str()),
        None if folder == Path::new("/dev/fd") => true,
        None => return None,
    };
    Some(if ours && number == 1 { Descriptor::StandardOutput } else { Descriptor::Other })
}

#[cfg(unix)]
fn is_stream(kind: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    kind.is_fifo() || kind.is_char_device()
}

#[cfg(not(unix))]
fn is_stream(_kind: FileType) -> bool {
    false
}

/// The name of a kind of file, for messages.
pub(super) fn in_words(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        match () {
            () if kind.is_socket() => return "a socket",
            () if kind.is_block_device() => return "a block device",
            () if kind.is_char_device() => return "a character device",
            () if kind.is_fifo() => return "a FIFO",
            () => {}
        }
    }
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_file() => "a file",
        () => "something else",
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    fn file(path: &Path) -> (PathBuf, Option<u32>) {
        match Target::of(path).unwrap() {
            Target::File { path, replaced } => (path, replaced.map(|p| p.mode() & 0o777)),
            other => panic!("{}: {other:?}", path.display()),
        }
    }

    fn refusal(path: &Path) -> String {
        Target::of(path).unwrap_err().to_string()
    }

    #[test]
    fn links_are_followed_to_the_file_whether_it_is_there_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("sub/old"), "x").unwrap();
        fs::set_permissions(at("sub/old"), Permissions::from_mode(0o640)).unwrap();
        symlink("sub/old", at("link")).unwrap();
        symlink("link", at("second")).unwrap();
        symlink("../sub/new", at("sub/dangling")).unwrap();
        symlink(at("sub"), at("folder")).unwrap();
        assert_eq!(file(&at("none")), (at("none"), None));
        assert_eq!(file(&at("sub/old")), (at("sub/old"), Some(0o640)));
        assert_eq!(file(&at("link")), (at("sub/old"), Some(0o640)));
        assert_eq!(file(&at("second")), (at("sub/old"), Some(0o640)));
        assert_eq!(file(&at("sub/dangling")), (at("sub/../sub/new"), None));
        assert_eq!(file(&at("folder/old")), (at("folder/old"), Some(0o640)));
    }

    #[test]
    fn what_is_no_file_and_no_stream_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("directory")).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        symlink("b", at("a")).unwrap();
        symlink("a", at("b")).unwrap();
        symlink("directory", at("to_directory")).unwrap();
        for (name, why) in [
            ("directory", "a directory, not a file"),
            ("to_directory", "a directory, not a file"),
            ("socket", "a socket, not a file"),
            ("a", "lead in a circle"),
            ("..", "a directory, not a file"),
            ("gone/..", "does not end in the name of a file"),
        ] {
            let refusal = refusal(&at(name));
            assert!(refusal.contains(why), "{name}: {refusal}");
        }
        assert!(refusal(Path::new("s3://bucket/out.csv")).contains("no `s3://` addresses"));
        assert_eq!(Target::of(&at("directory/x/y")).map(|_| ()).map_err(|e| e.to_string()), Ok(()));
    }

    #[test]
    fn a_file_without_write_permission_is_refused_for_the_superuser_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "mine").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        assert!(refusal(&path).contains("read-only"), "{}", refusal(&path));
        symlink("file", folder.path().join("link")).unwrap();
        assert!(refusal(&folder.path().join("link")).contains("read-only"));
        fs::set_permissions(&path, Permissions::from_mode(0o200)).unwrap();
        assert_eq!(file(&path), (path.clone(), Some(0o200)));
        assert_eq!(fs::metadata(&path).unwrap().len(), 4, "asking changes nothing");
    }

    #[test]
    fn streams_are_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
        symlink("fifo", at("to_fifo")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        for name in ["fifo", "to_fifo", "null"] {
            assert!(matches!(Target::of(&at(name)), Ok(Target::Stream(_))), "{name}");
        }
        symlink("/dev/stdout", at("stdout")).unwrap();
        let mut ways = vec![PathBuf::from("-"), "/dev/stdout".into(), "/dev/fd/1".into(), at("stdout")];
        if cfg!(target_os = "linux") {
            ways.push("/proc/self/fd/1".into());
            ways.push(format!("/proc/{}/fd/1", std::process::id()).into());
        }
        for path in ways {
            assert!(matches!(Target::of(&path), Ok(Target::StandardOutput)), "{}", path.display());
        }
        // A file behind a descriptor belongs to whoever opened it.
        assert!(matches!(Target::of(Path::new("/dev/fd/2")), Ok(Target::Stream(_))));
        // Only the name by itself stands for standard output.
        assert_eq!(file(&at("-")), (at("-"), None));
    }
}
