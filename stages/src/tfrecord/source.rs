//! The bytes of a TFRecord file, whatever its compression.
//!
//! Law: the content decides, never the name. A file whose first header checks is plain, even if its first bytes look
//! like those of a compressed file. Otherwise GZIP, ZLIB and Zstandard are known by their first bytes. Anything else is
//! taken as plain, so that framing refuses it.

use std::{
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::io::framing::{HEADER_BYTES, is_header};
use crate::io::packing::{Packing, TrailingGarbage, Unpacked};
use crate::io::{Input, Kind, Reader};

/// The size of the read buffer. It is small enough that most of a full-size record is read straight into the record's
/// own buffer, and large enough to frame many small records with one call.
const PLAIN_BUFFER: usize = 32 << 10;
/// The size of the buffer on each side of a decompressor.
const STREAM_BUFFER: usize = 128 << 10;
/// The most bytes that are reserved before any byte has come.
const RESERVE_BYTES: u64 = 1 << 20;

/// The reason why bytes do not come.
pub(super) enum Failure {
    /// The compressed stream ends too early, as the text says.
    Cut(String),
    /// The bytes are not such a stream, or not from here on, as the text says.
    Damaged(String),
    /// The compressed stream is whole, but something else follows it, as the text says.
    Trailing(String),
    Io(io::Error),
}

enum Bytes {
    /// An uncompressed regular file, in which the reader can seek, with its length at opening.
    Plain(BufReader<Reader>, u64),
    /// Anything else.
    Stream(BufReader<Box<dyn Read + Send>>),
}

pub(super) struct Source {
    bytes: Bytes,
    /// The compression of the file, if it is compressed.
    packing: Option<Packing>,
    /// The bytes of a compressed file that were read so far.
    packed: Arc<AtomicU64>,
}

/// A reader that counts the bytes that it has read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Source {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let Input { mut reader, kind, length } = crate::io::open(path)?;
        if kind != Kind::File {
            return Self::stream(reader);
        }
        let head = head(&mut reader)?;
        reader.seek(SeekFrom::Start(0))?;
        let (packing, packed) = (packing(&head), Arc::default());
        let bytes = match packing {
            None => Bytes::Plain(BufReader::with_capacity(PLAIN_BUFFER, reader), length),
            Some(_) => Bytes::Stream(unpack(packing, Counted { inner: reader, read: Arc::clone(&packed) })?),
        };
        Ok(Self { bytes, packing, packed })
    }

    /// Makes a source of an uncompressed file from byte `offset` on, which may lie behind the file's end. Nothing before
    /// that place is read.
    pub(super) fn at(path: &Path, offset: u64) -> io::Result<Self> {
        let Input { reader, length, .. } = crate::io::read_at(path, offset)?;
        Ok(Self {
            bytes: Bytes::Plain(BufReader::with_capacity(PLAIN_BUFFER, reader), length),
            packing: None,
            packed: Arc::default(),
        })
    }

    /// Makes a source of a stream that cannot seek, such as a pipe or bytes in memory.
    pub(super) fn stream(mut bytes: impl Read + Send + 'static) -> io::Result<Self> {
        let head = head(&mut bytes)?;
        let packing = packing(&head);
        let bytes = Bytes::Stream(unpack(packing, io::Cursor::new(head).chain(bytes))?);
        Ok(Self { bytes, packing, packed: Arc::default() })
    }

    /// How far the file was read when the bytes that come next, unpacked, lie at `at`: in bytes of the file as it is
    /// stored. For a compressed file, what the decompressor has read ahead is counted.
    pub(super) fn stored_position(&self, at: u64) -> u64 {
        if self.packing.is_some() { self.packed.load(Ordering::Relaxed) } else { at }
    }

    /// The compression of the file, if it is compressed.
    pub(super) fn packing(&self) -> Option<Packing> {
        self.packing
    }

    pub(super) fn can_seek(&self) -> bool {
        matches!(self.bytes, Bytes::Plain(..))
    }

    /// Fills `buffer` as far as the file reaches, and returns how far that is. With `alone`, nothing is read ahead,
    /// because what follows is going to be passed over.
    pub(super) fn fill(&mut self, buffer: &mut [u8], alone: bool) -> Result<usize, Failure> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = match &mut self.bytes {
                Bytes::Plain(reader, _) if alone && reader.buffer().is_empty() => {
                    // The bytes go past the buffer, which stays empty.
                    reader.get_mut().read(&mut buffer[filled..])
                }
                Bytes::Plain(reader, _) => reader.read(&mut buffer[filled..]),
                Bytes::Stream(reader) => reader.read(&mut buffer[filled..]),
            };
            match read {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        Ok(filled)
    }

    /// Appends the next `count` bytes to `out`, or as many as the file has. `out` grows as they arrive.
    pub(super) fn append(&mut self, count: u64, out: &mut Vec<u8>) -> Result<(), Failure> {
        // For records of usual size, the memory is reserved in full, because growing would copy.
        out.reserve_exact(count.min(RESERVE_BYTES) as usize);
        let read = match &mut self.bytes {
            Bytes::Plain(reader, _) => reader.take(count).read_to_end(out),
            Bytes::Stream(reader) => reader.take(count).read_to_end(out),
        };
        read.map(drop).map_err(|error| self.failure(error))
    }

    /// Passes over the next `count` bytes, of which the first lies at `at`. Returns how many there were.
    pub(super) fn pass(&mut self, at: u64, count: u64) -> Result<u64, Failure> {
        let passed = match &mut self.bytes {
            Bytes::Plain(reader, length) => {
                // A seek past the end would go unnoticed.
                let passed = count.min(length.saturating_sub(at));
                i64::try_from(passed)
                    .map_err(io::Error::other)
                    .and_then(|offset| reader.seek_relative(offset))
                    .map(|()| passed)
            }
            Bytes::Stream(reader) => discard(reader, count),
        };
        passed.map_err(|error| self.failure(error))
    }

    fn failure(&self, error: io::Error) -> Failure {
        let Some(packing) = self.packing else { return Failure::Io(error) };
        if error.raw_os_error().is_some() {
            return Failure::Io(error);
        }
        match error.kind() {
            _ if TrailingGarbage::is(&error) => Failure::Trailing(error.to_string()),
            io::ErrorKind::UnexpectedEof => Failure::Cut(format!("unexpected end of the {packing} stream")),
            io::ErrorKind::OutOfMemory => Failure::Io(error),
            _ => Failure::Damaged(format!("the {packing} stream is damaged: {error}")),
        }
    }
}

/// The first bytes of a file: as many as a header has, if the file is that long.
fn head(bytes: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEADER_BYTES);
    bytes.take(HEADER_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn unpack(
    packing: Option<Packing>,
    bytes: impl Read + Send + 'static,
) -> io::Result<BufReader<Box<dyn Read + Send>>> {
    let bytes = BufReader::with_capacity(STREAM_BUFFER, bytes);
    let unpacked: Box<dyn Read + Send> = match packing {
        Some(packing) => Box::new(Unpacked::new(packing, bytes)?),
        None => Box::new(bytes),
    };
    Ok(BufReader::with_capacity(STREAM_BUFFER, unpacked))
}

fn discard(reader: &mut impl BufRead, count: u64) -> io::Result<u64> {
    io::copy(&mut reader.take(count), &mut io::sink())
}

/// The compression that a file's first bytes show.
fn packing(head: &[u8]) -> Option<Packing> {
    // A length may look like a magic number, so a good header is looked for first.
    if is_header(head) { None } else { Packing::of(head) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::framing::masked_crc;

    #[test]
    fn a_length_that_looks_like_a_magic_number_is_a_length() {
        for length in [0x0008_8b1f_u64, 0x9c78, 0xfd2f_b528, 0x184d_2a50] {
            let length = length.to_le_bytes();
            let mut header = [&length[..], &masked_crc(&length).to_le_bytes()].concat();
            assert_eq!(packing(&header), None);
            header[11] ^= 1;
            assert_ne!(packing(&header), None);
        }
        assert_eq!(packing(b"x marks the spot"), None);
        assert_eq!(packing(b""), None);
    }
}
