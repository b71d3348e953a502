//! The bytes of a TFRecord file, whatever it is packed in.
//!
//! One law: the content decides, never the name. A file whose first header checks is plain even if its first bytes
//! look like a compressed file's; otherwise GZIP and ZLIB are known by theirs, and anything else is taken as plain, for
//! framing to refuse.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use super::{HEADER_BYTES, header_length};

/// Small enough that a full-size record is mostly read straight into its own buffer, large enough to frame many small
/// ones with one call.
const PLAIN_BUFFER: usize = 32 << 10;
/// Of each side of a decompressor.
const STREAM_BUFFER: usize = 128 << 10;
/// The most that is reserved before any byte has come.
const RESERVE_BYTES: u64 = 1 << 20;

/// Why bytes do not come.
pub(super) enum Failure {
    /// The compressed stream ends too early, as told.
    Cut(String),
    /// It is no such stream, or not from here on, as told.
    Damaged(String),
    Io(io::Error),
}

enum Bytes {
    /// An uncompressed regular file, which can seek, and its length at opening.
    Plain(BufReader<File>, u64),
    /// Anything else.
    Stream(BufReader<Box<dyn Read + Send>>),
}

pub(super) struct Source {
    bytes: Bytes,
    /// Of the compressed stream, for messages; empty if there is none.
    packing: &'static str,
}

impl Source {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if !metadata.is_file() {
            return Self::stream(file);
        }
        let head = head(&mut file)?;
        file.seek(SeekFrom::Start(0))?;
        let packing = packing(&head);
        let bytes = match packing {
            "" => Bytes::Plain(BufReader::with_capacity(PLAIN_BUFFER, file), metadata.len()),
            _ => Bytes::Stream(unpack(packing, file)),
        };
        Ok(Self { bytes, packing })
    }

    /// What cannot seek: a pipe, or bytes in memory.
    pub(super) fn stream(mut bytes: impl Read + Send + 'static) -> io::Result<Self> {
        let head = head(&mut bytes)?;
        let packing = packing(&head);
        Ok(Self { bytes: Bytes::Stream(unpack(packing, io::Cursor::new(head).chain(bytes))), packing })
    }

    pub(super) fn can_seek(&self) -> bool {
        matches!(self.bytes, Bytes::Plain(..))
    }

    /// Fills `buffer` as far as the file reaches; returns how far. `alone`: what follows is going to be passed over, so
    /// that nothing should be read ahead.
    pub(super) fn fill(&mut self, buffer: &mut [u8], alone: bool) -> Result<usize, Failure> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = match &mut self.bytes {
                Bytes::Plain(reader, _) if alone && reader.buffer().is_empty() => {
                    // Past the buffer, which stays empty.
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
        // Reserved in full for usual records: growing would copy.
        out.reserve_exact(count.min(RESERVE_BYTES) as usize);
        let read = match &mut self.bytes {
            Bytes::Plain(reader, _) => reader.take(count).read_to_end(out),
            Bytes::Stream(reader) => reader.take(count).read_to_end(out),
        };
        read.map(drop).map_err(|error| self.failure(error))
    }

    /// Passes over the next `count` bytes, of which the first lies at `at`; returns how many there were.
    pub(super) fn pass(&mut self, at: u64, count: u64) -> Result<u64, Failure> {
        let passed = match &mut self.bytes {
            Bytes::Plain(reader, length) => {
                // Seeking past the end would go unnoticed.
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
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match error.kind() {
            _ if self.packing.is_empty() => Failure::Io(error),
            UnexpectedEof => Failure::Cut(format!("unexpected end of the {} stream", self.packing)),
            InvalidInput | InvalidData => {
                Failure::Damaged(format!("the {} stream is damaged: {error}", self.packing))
            }
            _ => Failure::Io(error),
        }
    }
}

/// The first bytes of a file, as many as a header has if it is that long.
fn head(bytes: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEADER_BYTES);
    bytes.take(HEADER_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn unpack(packing: &str, bytes: impl Read + Send + 'static) -> BufReader<Box<dyn Read + Send>> {
    let bytes = BufReader::with_capacity(STREAM_BUFFER, bytes);
    let unpacked: Box<dyn Read + Send> = match packing {
        "gzip" => Box::new(MultiGzDecoder::new(bytes)),
        "zlib" => Box::new(ZlibDecoder::new(bytes)),
        _ => Box::new(bytes),
    };
    BufReader::with_capacity(STREAM_BUFFER, unpacked)
}

fn discard(reader: &mut impl BufRead, count: u64) -> io::Result<u64> {
    io::copy(&mut reader.take(count), &mut io::sink())
}

/// The name of the compression that a file's first bytes show.
fn packing(head: &[u8]) -> &'static str {
    // A length may well look like a magic number, so a good header comes first.
    let plain = head.first_chunk().is_some_and(|header| header_length(header).is_some());
    match head {
        _ if plain => "",
        [0x1f, 0x8b, 8, ..] => "gzip",
        // Deflate with a 32 KiB window, no dictionary: the four second bytes that compressors write.
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => "zlib",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tfrecord::masked_crc;

    #[test]
    fn a_length_that_looks_like_a_magic_number_is_a_length() {
        for length in [0x0008_8b1f_u64, 0x9c78] {
            let length = length.to_le_bytes();
            let mut header = [&length[..], &masked_crc(&length).to_le_bytes()].concat();
            assert_eq!(packing(&header), "");
            header[11] ^= 1;
            assert_ne!(packing(&header), "");
        }
        assert_eq!(packing(b"x marks the spot"), "");
        assert_eq!(packing(b""), "");
    }
}
