//! A file of tensors from elsewhere. Its content says which format it has.
//!
//! Law: opening a file reads names, types and shapes. The elements of a tensor are read when they are asked for.

use std::collections::BTreeSet;
use std::io::{BufReader, Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use super::element::{ElementType, reverse_axes};
use super::error::{ImportError, shown};
use super::npz::{Npz, Seekable};
use super::pickle;
use crate::io;
use crate::io::content::{self, Content as FileKind};

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A pickled dict of numpy arrays: PaddlePaddle's `.pdparams`.
    Pickle,
    /// numpy's `.npz` archive.
    Npz,
    /// A `.safetensors` file.
    Safetensors,
}

impl Format {
    /// The format of a file that begins with these bytes; sixteen bytes are enough. `None` if [`Source::open`] cannot
    /// read such a file.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            // The bytes are PROTO with its number, and an operation that begins a dict, an OrderedDict or a frame.
            [0x80, 2..=5, b'}' | b'c' | 0x95 | 0x8c, ..] => Some(Self::Pickle),
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Npz),
            [_, _, _, _, _, _, _, _, b'{', ..] => Some(Self::Safetensors),
            _ => None,
        }
    }

    /// The format of a file. `None` if [`Source::open`] cannot read it, and for a directory.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_file(path: &Path) -> std::io::Result<Option<Self>> {
        if path.is_dir() {
            return Ok(None);
        }
        let mut head = Vec::new();
        io::open(path)?.reader.take(16).read_to_end(&mut head)?;
        Ok(Self::of(&head))
    }

    /// The format in words.
    pub fn what(self) -> &'static str {
        match self {
            Self::Pickle => "pickled arrays (PaddlePaddle)",
            Self::Npz => "arrays (.npz)",
            Self::Safetensors => "weights (safetensors)",
        }
    }
}

/// A tensor of a file.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// The tensor's name.
    pub name: String,
    /// PaddlePaddle's name of the parameter, where the file names tensors by their layer.
    pub parameter: Option<String>,
    /// The type of the elements.
    pub dtype: ElementType,
    /// The shape.
    pub shape: Vec<usize>,
    fortran: bool,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Bytes(Range<usize>),
    Latin1(Range<usize>),
    Entry(usize),
}

#[derive(Debug)]
enum Content {
    Memory(Vec<u8>),
    Archive(Npz),
}

/// An open file.
#[derive(Debug)]
pub struct Source {
    /// The path of the file.
    pub path: PathBuf,
    /// The format of the file.
    pub format: Format,
    /// The tensors, in the order of the file.
    pub tensors: Vec<Foreign>,
    /// The names of everything in the file that is not a tensor.
    pub others: Vec<String>,
    content: Content,
}

impl Source {
    /// Opens a `.pdparams`, `.npz` or `.safetensors` file.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or has none of these formats.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        if path.is_dir() {
            let why = "this is a directory; name a .pdparams, .npz or .safetensors file";
            return Err(ImportError::content(path, why));
        }
        let read = |error| ImportError::read(path)(error);
        // A PyTorch checkpoint is a ZIP archive or a pickle too, but not one of these formats.
        if let Some(kind @ FileKind::PyTorch) = FileKind::of_file(path).map_err(read)? {
            return Err(ImportError::content(path, told(kind)));
        }
        match Format::of_file(path).map_err(read)? {
            // An archive is not read at once: only the entries that are asked for are read.
            Some(Format::Npz) => {
                Self::npz(path, Box::new(BufReader::new(io::open(path).map_err(read)?.reader)))
            }
            _ => Self::from_bytes(path, io::read(path).map_err(read)?),
        }
    }

    /// Opens a file whose bytes were read already. `path` is for messages. Any bytes may come in.
    ///
    /// # Errors
    /// The bytes are damaged or have none of the formats.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, ImportError> {
        match Format::of(&bytes) {
            Some(Format::Npz) => Self::npz(path, Box::new(Cursor::new(bytes))),
            Some(Format::Pickle) => Self::pickle(path, bytes),
            Some(Format::Safetensors) => Self::safetensors(path, bytes),
            None => {
                let none = "this is neither a pickled dict of arrays (.pdparams) nor an .npz nor a .safetensors file";
                let head = &bytes[..bytes.len().min(content::HEAD_BYTES)];
                let why = match FileKind::of(head) {
                    Some(kind) => format!("{none}, but {}", told(kind)),
                    None if head.is_empty() => format!("{none}, but empty"),
                    None => format!("{none}; {}", content::begins_with(head)),
                };
                Err(ImportError::content(path, why))
            }
        }
    }

    fn pickle(path: &Path, bytes: Vec<u8>) -> Result<Self, ImportError> {
        let dict = pickle::state_dict(&bytes).map_err(|e| ImportError::content(path, e.to_string()))?;
        let tensor = |(name, array): (String, pickle::PickledArray)| Foreign {
            parameter: dict.parameter_names.get(&name).cloned(),
            name,
            dtype: array.dtype,
            shape: array.shape,
            fortran: array.fortran,
            place: if array.latin1 { Place::Latin1(array.place) } else { Place::Bytes(array.place) },
        };
        Ok(Self {
            path: path.to_owned(),
            format: Format::Pickle,
            tensors: dict.arrays.into_iter().map(tensor).collect(),
            others: dict.others,
            content: Content::Memory(bytes),
        })
    }

    fn npz(path: &Path, file: Box<dyn Seekable>) -> Result<Self, ImportError> {
        let (archive, entries, others) = Npz::open(path, file)?;
        let mut names = BTreeSet::new();
        for entry in &entries {
            if !names.insert(&entry.name) {
                return Err(ImportError::content(
                    path,
                    format!("two arrays are named `{}`", shown(&entry.name)),
                ));
            }
        }
        let tensors = entries.into_iter().map(|entry| Foreign {
            name: entry.name,
            parameter: None,
            dtype: entry.header.dtype,
            shape: entry.header.shape,
            fortran: entry.header.fortran,
            place: Place::Entry(entry.index),
        });
        Ok(Self {
            path: path.to_owned(),
            format: Format::Npz,
            tensors: tensors.collect(),
            others,
            content: Content::Archive(archive),
        })
    }

    fn safetensors(path: &Path, bytes: Vec<u8>) -> Result<Self, ImportError> {
        let damaged = |error: safetensors::SafeTensorError| ImportError::content(path, error.to_string());
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let start = size_of::<u64>() + header;
        let names = metadata.offset_keys().into_iter();
        let tensors = names.filter_map(|name| {
            let info = metadata.info(&name)?;
            Some(Foreign {
                parameter: None,
                dtype: ElementType::of_safetensors(info.dtype),
                shape: info.shape.clone(),
                fortran: false,
                // The offsets lie within the file: `read_metadata` has compared them with its size.
                place: Place::Bytes(start + info.data_offsets.0..start + info.data_offsets.1),
                name,
            })
        });
        Ok(Self {
            path: path.to_owned(),
            format: Format::Safetensors,
            tensors: tensors.collect(),
            others: Vec::new(),
            content: Content::Memory(bytes),
        })
    }

    /// Reads the elements of a tensor as float32, row-major. With `transposed`, the axes are reversed.
    ///
    /// # Errors
    /// The elements are not there, are not floats, or one of them has no finite float32.
    pub fn read(&mut self, index: usize, transposed: bool) -> Result<Vec<f32>, ImportError> {
        let tensor = &self.tensors[index];
        let values = match (&tensor.place, &mut self.content) {
            (Place::Bytes(place), Content::Memory(bytes)) => {
                tensor.dtype.to_f32(bytes.get(place.clone()).unwrap_or_default(), &tensor.shape)
            }
            (Place::Latin1(place), Content::Memory(bytes)) => {
                latin1(bytes.get(place.clone()).unwrap_or_default())
                    .and_then(|bytes| tensor.dtype.to_f32(&bytes, &tensor.shape))
            }
            (Place::Entry(entry), Content::Archive(archive)) if tensor.dtype.is_float() => {
                archive.data(*entry).and_then(|bytes| tensor.dtype.to_f32(&bytes, &tensor.shape))
            }
            // The elements are not floats; `to_f32` says so.
            _ => tensor.dtype.to_f32(&[], &tensor.shape),
        };
        let values = values.map_err(|why| {
            ImportError::content(&self.path, format!("tensor `{}`: {why}", shown(&tensor.name)))
        })?;
        // A transposition and column-major order cancel each other.
        if transposed == tensor.fortran {
            return Ok(values);
        }
        let mut shape = tensor.shape.clone();
        if tensor.fortran {
            shape.reverse();
        }
        Ok(reverse_axes(values, &shape))
    }
}

/// What a file is that holds no weights, and what to do with it.
fn told(kind: FileKind) -> String {
    match kind.advice_for_weights() {
        Some(advice) => format!("{}; {advice}", kind.what()),
        None => kind.what().to_owned(),
    }
}

/// Decodes bytes that were written as characters up to U+00FF, which take one or two bytes of UTF-8 each.
fn latin1(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(first) = rest.next() {
        bytes.push(match first {
            0..=0x7f => *first,
            0xc2 | 0xc3 => match rest.next() {
                Some(second @ 0x80..=0xbf) => (first << 6) | (second & 0x3f),
                _ => return Err("its bytes are not UTF-8".to_owned()),
            },
            _ => return Err("its text has a character above U+00FF, which stands for no byte".to_owned()),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_as_a_character() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        assert_eq!(latin1(text.as_bytes()).unwrap(), bytes);
        assert!(
            latin1("\u{100}".as_bytes()).is_err()
                && latin1(&[0xc3]).is_err()
                && latin1(&[0xc3, 0x41]).is_err()
        );
    }

    #[test]
    fn the_content_tells_the_format() {
        assert_eq!(Format::of(b"\x80\x02}q\x00"), Some(Format::Pickle));
        assert_eq!(Format::of(b"PK\x03\x04"), Some(Format::Npz));
        assert_eq!(Format::of(b"\x02\0\0\0\0\0\0\0{}"), Some(Format::Safetensors));
        assert_eq!([Format::of(b""), Format::of(b"\x80\x06}"), Format::of(b"text")], [None; 3]);
    }
}
