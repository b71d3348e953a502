//! numpy's files: `.npy` headers, and `.npz` archives.
//!
//! Law: nothing is read before a header has said how much there is to read, and then no more than that is read.

use std::fmt::Debug;
use std::io::{self, Read, Seek};
use std::path::Path;

use flate2::Crc;
use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::element::ElementType;
use super::error::{ImportError, shown};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// The most bytes of a header. numpy itself reads no header that is longer than 10,000 bytes.
const MAX_HEADER: usize = 1 << 16;
/// The most axes of an array, which is also numpy's limit.
const MAX_AXES: usize = 64;

/// The header of a `.npy` file.
#[derive(Debug, Clone, PartialEq)]
pub struct NpyHeader {
    /// The type of the elements.
    pub dtype: ElementType,
    /// The array's shape.
    pub shape: Vec<usize>,
    /// Whether the first axis runs fastest.
    pub fortran: bool,
}

/// A file or other source of bytes that an archive is read from.
pub(super) trait Seekable: Read + Seek + Debug + Send {}

impl<T: Read + Seek + Debug + Send> Seekable for T {}

/// An `.npz` archive.
#[derive(Debug)]
pub(super) struct Npz {
    archive: ZipArchive<Box<dyn Seekable>>,
}

/// An array in an archive.
pub(super) struct NpzEntry {
    /// The array's index in the archive.
    pub(super) index: usize,
    /// The array's name, without `.npy`.
    pub(super) name: String,
    pub(super) header: NpyHeader,
}

impl Npz {
    /// Opens an archive and reads the headers of its arrays. Returns the archive, its arrays, and the names of the
    /// entries that are not arrays.
    pub(super) fn open(
        path: &Path,
        file: Box<dyn Seekable>,
    ) -> Result<(Self, Vec<NpzEntry>, Vec<String>), ImportError> {
        let damaged = |why: String| ImportError::content(path, why);
        let archive =
            ZipArchive::new(file).map_err(|e| damaged(format!("the .npz archive is damaged: {e}")))?;
        let mut npz = Self { archive };
        let (mut arrays, mut others) = (Vec::new(), Vec::new());
        for index in 0..npz.archive.len() {
            let place =
                npz.archive.by_index_raw(index).map_err(|e| damaged(format!("entry {index}: {e}")))?;
            let entry = String::from_utf8_lossy(place.name_raw()).into_owned();
            drop(place);
            let Some(name) = entry.strip_suffix(".npy") else {
                others.push(entry);
                continue;
            };
            let header = npz.with_entry(index, |reader| NpyHeader::read(reader));
            let header = header.map_err(|why| damaged(format!("entry `{}`: {why}", shown(&entry))))?;
            arrays.push(NpzEntry { index, name: name.to_owned(), header });
        }
        if arrays.is_empty() {
            return Err(damaged("the archive has no .npy entries, so it is not an .npz file".into()));
        }
        Ok((npz, arrays, others))
    }

    /// The bytes of an array's elements. The array's header says how many there are.
    ///
    /// # Errors
    /// The reason why they cannot be read, without the array's name.
    pub(super) fn data(&mut self, index: usize) -> Result<Vec<u8>, String> {
        self.with_entry(index, |reader| {
            let header = NpyHeader::read(reader)?;
            let size = header.dtype.bytes(&header.shape).filter(|_| header.dtype.is_float());
            let size = size.ok_or_else(|| {
                format!("an array of type {} and shape {:?} cannot be read", header.dtype, header.shape)
            })?;
            let mut bytes = Vec::new();
            reader.take(size as u64).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
            if bytes.len() < size {
                return Err(format!("the array has only {} of its {size} bytes", bytes.len()));
            }
            // The entry is read to its end, so that the checksum is compared.
            match io::copy(reader, &mut io::sink()) {
                Ok(0) => Ok(bytes),
                Ok(more) => Err(format!("the array has {more} bytes too many")),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    fn with_entry<T>(
        &mut self,
        index: usize,
        read: impl FnOnce(&mut dyn Read) -> Result<T, String>,
    ) -> Result<T, String> {
        let entry = self.archive.by_index_raw(index).map_err(|e| e.to_string())?;
        if entry.encrypted() {
            return Err("the entry is encrypted".into());
        }
        let (method, crc32) = (entry.compression(), entry.crc32());
        match method {
            CompressionMethod::STORE => read(&mut Checked::new(entry, crc32)),
            CompressionMethod::DEFLATE => read(&mut Checked::new(DeflateDecoder::new(entry), crc32)),
            other => {
                Err(format!("the entry is compressed as {other}; only stored and deflated entries are read"))
            }
        }
    }
}

/// A reader that compares the checksum when it reaches the end.
struct Checked<R> {
    inner: R,
    crc: Crc,
    expected: u32,
}

impl<R: Read> Checked<R> {
    fn new(inner: R, expected: u32) -> Self {
        Self { inner, crc: Crc::new(), expected }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.crc.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() && self.crc.sum() != self.expected {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the checksum of its bytes does not match",
            ));
        }
        Ok(count)
    }
}

impl NpyHeader {
    /// Reads the header of a `.npy` file, versions 1 to 3, up to the first element.
    ///
    /// # Errors
    /// The reason why there is no such header. Whatever the bytes are, this does not panic.
    pub fn read(reader: &mut dyn Read) -> Result<Self, String> {
        let mut start = [0; 8];
        reader.read_exact(&mut start).map_err(|_| "too short for a .npy header".to_owned())?;
        if &start[..6] != MAGIC {
            return Err("not a .npy file".into());
        }
        let width = match start[6] {
            1 => 2,
            2 | 3 => 4,
            version => {
                return Err(format!(
                    ".npy version {version}.{} is not known; versions 1 to 3 are read",
                    start[7]
                ));
            }
        };
        let mut length = [0; 4];
        reader.read_exact(&mut length[..width]).map_err(|_| "the .npy header is cut off".to_owned())?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER {
            return Err(format!("a .npy header of {length} bytes is too long"));
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text).map_err(|_| "the .npy header is cut off".to_owned())?;
        let text = std::str::from_utf8(&text).map_err(|_| "the .npy header is not UTF-8".to_owned())?;
        Self::parse(text)
            .ok_or_else(|| format!("the .npy header `{}` is not that of a plain array", shown(text.trim())))
    }

    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, a dict as Python writes it.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('{')?;
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        loop {
            rest = rest.trim_start();
            if let Some(end) = rest.strip_prefix('}') {
                if !end.is_empty() {
                    return None;
                }
                break;
            }
            let key;
            (key, rest) = quoted(rest)?;
            rest = rest.trim_start().strip_prefix(':')?.trim_start();
            match key {
                "descr" if descr.is_none() => {
                    let code;
                    (code, rest) = quoted(rest)?;
                    descr = Some(code);
                }
                "fortran_order" if fortran.is_none() => {
                    let word = rest.find([',', '}']).map(|end| rest.split_at(end))?;
                    fortran = Some(match word.0.trim_end() {
                        "True" => true,
                        "False" => false,
                        _ => return None,
                    });
                    rest = word.1;
                }
                "shape" if shape.is_none() => {
                    let (inside, after) = rest.strip_prefix('(')?.split_once(')')?;
                    let sizes = inside.split(',').map(str::trim).filter(|size| !size.is_empty());
                    // Python 2 writes large numbers as 3L.
                    let sizes = sizes.map(|size| size.strip_suffix('L').unwrap_or(size).parse().ok());
                    let sizes = sizes.take(MAX_AXES + 1).collect::<Option<Vec<usize>>>()?;
                    if sizes.len() > MAX_AXES {
                        return None;
                    }
                    shape = Some(sizes);
                    rest = after;
                }
                _ => return None,
            }
            rest = rest.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(rest) => rest,
                None if rest.starts_with('}') => rest,
                None => return None,
            };
        }
        let descr: &str = descr?;
        let (big_endian, code) = match descr.split_at_checked(1)? {
            ("<" | "|", code) => (false, code),
            (">", code) => (true, code),
            _ => return None,
        };
        Some(Self { dtype: ElementType::of_numpy(code, big_endian), shape: shape?, fortran: fortran? })
    }
}

/// Splits off a quoted word and returns it with what follows it. Headers have no escapes.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Option<(String, bool, Vec<usize>)> {
        NpyHeader::parse(text).map(|header| (header.dtype.to_string(), header.fortran, header.shape))
    }

    #[test]
    fn headers_as_python_writes_them() {
        let plain = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }      \n";
        assert_eq!(header(plain), Some(("f32".into(), false, vec![3, 4])));
        let other = "{\"shape\":(7L,),\"fortran_order\":True,\"descr\":\">f8\"}";
        assert_eq!(header(other), Some(("f64 (big-endian)".into(), true, vec![7])));
        assert_eq!(
            header("{'descr': '|b1', 'fortran_order': False, 'shape': ()}"),
            Some(("bool".into(), false, vec![]))
        );
    }

    #[test]
    fn other_headers_are_refused() {
        for text in [
            "",
            "{",
            "{'descr': '<f4'}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 'x'}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x",
            "{'descr': 'éf4', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '', 'fortran_order': False, 'shape': (1,)}",
        ] {
            assert_eq!(header(text), None, "{text}");
        }
    }

    #[test]
    fn a_header_is_not_believed() {
        let read = |bytes: &[u8]| NpyHeader::read(&mut &bytes[..]).unwrap_err();
        assert!(read(b"\x93NUMPY\x01\x00\xff\xff{").contains("cut off"));
        assert!(read(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{").contains("4294967295 bytes"));
        assert!(read(b"\x93NUMPY\x09\x00\x00\x00").contains("version 9.0"));
        assert!(read(b"\x93NUMP").contains("too short"));
        assert!(read(b"\x00NUMPY\x01\x00\x00\x00").contains("not a .npy"));
    }
}
