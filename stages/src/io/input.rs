//! Reading files and streams: what a path leads to, and its bytes.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::place::local;

/// The reader that [`open`] gives. It is the local file's own type, so that reading needs no call through a table.
pub type Reader = File;

/// An opened file, and what is known about it.
#[derive(Debug)]
pub struct Input {
    /// The bytes, from the first on.
    pub reader: Reader,
    /// The kind of thing that the bytes come from.
    pub kind: Kind,
    /// The length in bytes at the time of opening. It is 0 for a stream, whose length is not known.
    pub length: u64,
}

/// The kinds of things that bytes can be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file. It has a length, and any place in it can be read any number of times.
    File,
    /// A pipe, a FIFO or a device. Its bytes come once, in their order.
    Stream,
    /// A directory.
    Directory,
}

impl Kind {
    pub(super) fn of(metadata: &Metadata) -> Self {
        match () {
            () if metadata.is_dir() => Kind::Directory,
            () if metadata.is_file() => Kind::File,
            () => Kind::Stream,
        }
    }
}

/// Opens a file or a stream for reading. Opening a FIFO waits for its writer.
///
/// # Errors
/// There is no such file, it may not be read, it is a directory, or the path is an address.
pub fn open(path: &Path) -> io::Result<Input> {
    let reader = File::open(local(path)?)?;
    let metadata = reader.metadata()?;
    match Kind::of(&metadata) {
        Kind::Directory => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        Kind::Stream => Ok(Input { reader, kind: Kind::Stream, length: 0 }),
        Kind::File => Ok(Input { reader, kind: Kind::File, length: metadata.len() }),
    }
}

/// Opens a regular file at byte `offset`, which may lie behind its end.
///
/// # Errors
/// The errors of [`open`]. In a stream, no offset can be reached (`NotSeekable`).
pub fn read_at(path: &Path, offset: u64) -> io::Result<Input> {
    let mut input = open(path)?;
    if input.kind != Kind::File {
        return Err(io::Error::from(io::ErrorKind::NotSeekable));
    }
    input.reader.seek(SeekFrom::Start(offset))?;
    Ok(input)
}

/// Reads all bytes of a file.
///
/// # Errors
/// The errors of [`open`], and those of reading.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let Input { mut reader, length, .. } = open(path)?;
    let mut bytes = Vec::new();
    // The file may be longer or shorter by now, so the length is only a hint.
    bytes.try_reserve(usize::try_from(length).unwrap_or(0))?;
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a whole text file.
///
/// # Errors
/// The errors of [`read`], and `InvalidData` if the file is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(read(path)?).map_err(not_text)
}

/// What a path leads to, found without opening it, and the length of a regular file in bytes.
///
/// # Errors
/// There is no such file, it cannot be looked at, or the path is an address.
pub fn kind_and_length(path: &Path) -> io::Result<(Kind, u64)> {
    let metadata = fs::metadata(local(path)?)?;
    let kind = Kind::of(&metadata);
    Ok((kind, if kind == Kind::File { metadata.len() } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_and_from_any_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"abcdef").unwrap();
        let input = open(&path).unwrap();
        assert_eq!((input.kind, input.length), (Kind::File, 6));
        assert_eq!(read(&path).unwrap(), b"abcdef");
        assert_eq!(read_to_string(&path).unwrap(), "abcdef");
        for (offset, rest) in [(0, "abcdef"), (4, "ef"), (6, ""), (9, "")] {
            let mut text = String::new();
            read_at(&path, offset).unwrap().reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, rest);
        }
        assert_eq!(kind_and_length(&path).unwrap(), (Kind::File, 6));
        fs::write(&path, b"a\xff").unwrap();
        assert_eq!(read_to_string(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(open(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(kind_and_length(folder.path()).unwrap(), (Kind::Directory, 0));
        let gone = folder.path().join("gone");
        assert_eq!(open(&gone).unwrap_err().kind(), io::ErrorKind::NotFound);
        let address = Path::new("s3://bucket/key");
        for error in [open(address).map(drop), read(address).map(drop), kind_and_length(address).map(drop)] {
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::Unsupported);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_stream_has_no_length_and_no_places() {
        let folder = tempfile::tempdir().unwrap();
        let null = &folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", null).unwrap();
        let input = open(null).unwrap();
        assert_eq!((input.kind, input.length), (Kind::Stream, 0));
        assert_eq!(kind_and_length(null).unwrap(), (Kind::Stream, 0));
        assert_eq!(read_at(null, 0).unwrap_err().kind(), io::ErrorKind::NotSeekable);
    }
}
