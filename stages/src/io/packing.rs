//! The compressions that a whole file may be packed in, and the reading of what is inside.
//!
//! A packed file is one member (a GZIP member, a ZLIB stream or a Zstandard frame) or several one after another, whose
//! contents together are those of the file.
//!
//! Law: what follows the last member is not passed over in silence. Zero bytes are padding, as in gzip. Anything else
//! is an error of its own, which is reported once everything before it has been read.

use std::fmt;
use std::io::{self, BufRead, Read};

use flate2::bufread::{GzDecoder, ZlibDecoder};

/// The compression of a file of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// GZIP (RFC 1952).
    Gzip,
    /// ZLIB (RFC 1950), as TensorFlow's option of this name writes it.
    Zlib,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Packing {
    /// The compression that a file's first bytes show, even if they could be something else.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            // Deflate with a window of 32 KiB and no dictionary has one of four second bytes.
            [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Some(Self::Zlib),
            // This is a frame, or a skippable frame, with which parallel compressors begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The name of the compression in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// Whether another member may begin with this byte.
    fn may_go_on_with(self, byte: u8) -> bool {
        match self {
            Self::Gzip => byte == 0x1f,
            Self::Zlib => false,
            Self::Zstd => byte == 0x28 || (0x50..=0x5f).contains(&byte),
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error of bytes that follow the last member, inside of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("the {0} stream is whole, but bytes that are neither a part of it nor zero padding follow it")]
pub(crate) struct TrailingGarbage(Packing);

impl TrailingGarbage {
    fn error(packing: Packing) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Self(packing))
    }

    /// Whether an error is of this kind.
    pub(crate) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

/// Reads the contents of all members of a packed file.
pub(crate) struct Unpacked<R: BufRead> {
    packing: Packing,
    member: Option<Member<R>>,
    /// The number of members that were read to their end.
    whole: u64,
    /// The number of bytes that came out of the member in hand.
    bytes: u64,
}

enum Member<R: BufRead> {
    Gzip(GzDecoder<R>),
    Zlib(ZlibDecoder<R>),
    Zstd(zstd::Decoder<'static, R>),
}

impl<R: BufRead> Unpacked<R> {
    /// Makes a reader at the start of the first member.
    ///
    /// # Errors
    /// The decompressor cannot be made: there is no memory for it.
    pub(crate) fn new(packing: Packing, packed: R) -> io::Result<Self> {
        Ok(Self { packing, member: Some(Member::new(packing, packed)?), whole: 0, bytes: 0 })
    }

    /// Begins the next member, if there is one.
    fn go_on(&mut self, mut packed: R) -> io::Result<()> {
        self.whole += 1;
        match look(&mut packed)?.first() {
            None => return Ok(()),
            Some(&byte) if self.packing.may_go_on_with(byte) => {
                self.bytes = 0;
                self.member = Some(Member::new(self.packing, packed)?);
                return Ok(());
            }
            Some(_) => {}
        }
        loop {
            let padding = look(&mut packed)?;
            if padding.is_empty() {
                return Ok(());
            }
            if padding.iter().any(|&byte| byte != 0) {
                return Err(TrailingGarbage::error(self.packing));
            }
            let length = padding.len();
            packed.consume(length);
        }
    }

    /// The meaning of an error of the decompressor. A later member that does not even begin is not a member.
    fn explain(&self, error: io::Error) -> io::Error {
        let begun = match &self.member {
            Some(Member::Gzip(member)) => member.header().is_some(),
            _ => self.bytes > 0,
        };
        let of_the_system = error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted;
        if begun || self.whole == 0 || of_the_system || error.kind() == io::ErrorKind::UnexpectedEof {
            error
        } else {
            TrailingGarbage::error(self.packing)
        }
    }
}

/// Reads what comes next. A read that a signal interrupts is tried again.
fn look(packed: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match packed.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // Buffered by now.
    packed.fill_buf()
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            match member.read(buffer) {
                Ok(0) => {
                    let packed = self.member.take().map(Member::into_packed);
                    packed.map_or(Ok(()), |packed| self.go_on(packed))?;
                }
                Ok(read) => {
                    self.bytes += read as u64;
                    return Ok(read);
                }
                Err(error) => return Err(self.explain(error)),
            }
        }
        Ok(0)
    }
}

impl<R: BufRead> Member<R> {
    fn new(packing: Packing, packed: R) -> io::Result<Self> {
        Ok(match packing {
            Packing::Gzip => Self::Gzip(GzDecoder::new(packed)),
            Packing::Zlib => Self::Zlib(ZlibDecoder::new(packed)),
            Packing::Zstd => Self::Zstd(zstd::Decoder::with_buffer(packed)?.single_frame()),
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(member) => member.read(buffer),
            Self::Zlib(member) => member.read(buffer),
            Self::Zstd(member) => member.read(buffer),
        }
    }

    /// The reader that the member was read from, which stands behind the member's last byte.
    fn into_packed(self) -> R {
        match self {
            Self::Gzip(member) => member.into_inner(),
            Self::Zlib(member) => member.into_inner(),
            Self::Zstd(member) => member.finish(),
        }
    }
}
