//! Tensors in safetensors files. They are streamed, so there is never a second copy of more than a small buffer.
//!
//! Law: equal tensors give equal bytes, which are those that the safetensors crate itself would write.
//!
//! The layout (<https://huggingface.co/docs/safetensors>) is the length of the header as u64, the JSON header padded
//! with spaces to 8 bytes, and then the data. Tensors with the widest types come first, and tensors of one width by
//! name.

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use safetensors::tensor::{Dtype, Metadata, TensorInfo as HeaderEntry};
use serde::Serialize;

use super::error::StoreError;
use super::hashed::Hashed;
use super::manifest::FileInfo;
use crate::io::{self, Input, Reader};
use crate::model::{Array, Arrays};

/// The number of bytes that are converted at a time.
const BUFFER: usize = 1 << 18;

/// The name, element type and shape of a stored tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorInfo {
    /// The tensor's name in the file.
    pub name: String,
    /// The element type in the form in which safetensors writes it: `F32`, `U8`, ….
    pub dtype: String,
    /// The dimensions; empty for a scalar.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// The number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&dimension| dimension as u64).product()
    }
}

/// What is stored under one name.
pub(super) enum Content<'a> {
    /// A tensor of one of candle's types.
    Tensor(&'a Tensor),
    /// Whole numbers of 8 bits, which candle has no tensors of, with their dimensions.
    I8(&'a [i8], &'a [usize]),
}

impl Content<'_> {
    fn shape(&self) -> &[usize] {
        match self {
            Self::Tensor(tensor) => tensor.dims(),
            Self::I8(_, shape) => shape,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Tensor(tensor) => tensor.elem_count() * tensor.dtype().size_in_bytes(),
            Self::I8(values, _) => values.len(),
        }
    }

    /// The element type in the file. `Err` with candle's type where the file cannot have it.
    fn dtype(&self) -> Result<Dtype, DType> {
        let Self::Tensor(tensor) = self else { return Ok(Dtype::I8) };
        let dtype = tensor.dtype();
        let can = matches!(
            dtype,
            DType::U8
                | DType::U32
                | DType::I16
                | DType::I32
                | DType::I64
                | DType::F16
                | DType::BF16
                | DType::F32
                | DType::F64
        );
        if can { Ok(Dtype::from(dtype)) } else { Err(dtype) }
    }
}

/// Streams tensors out. `path` is for messages. Tensors on a device are copied to host memory one at a time.
pub(super) fn write(
    writer: impl Write,
    path: &Path,
    tensors: &[(String, Tensor)],
) -> Result<FileInfo, StoreError> {
    let contents = tensors.iter().map(|(name, tensor)| (name, Content::Tensor(tensor))).collect();
    write_contents(writer, path, contents, None)
}

/// Streams contents out, with one text beside them under a name. Several texts would have no fixed order.
pub(super) fn write_contents(
    writer: impl Write,
    path: &Path,
    contents: Vec<(&String, Content)>,
    text: Option<(&str, String)>,
) -> Result<FileInfo, StoreError> {
    let mut names: Vec<&String> = contents.iter().map(|(name, _)| *name).collect();
    names.sort();
    let mut sorted = Vec::with_capacity(contents.len());
    for (name, content) in contents {
        match content.dtype() {
            Ok(dtype) => sorted.push((dtype, name, content)),
            Err(dtype) => {
                return Err(StoreError::format(path, format!("tensor {name}: cannot store {dtype:?}")));
            }
        }
    }
    sorted.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(StoreError::format(path, format!("two tensors are named {}", twice[0])));
    }
    if names.iter().any(|name| *name == "__metadata__") {
        return Err(StoreError::format(path, "a tensor cannot be named __metadata__"));
    }

    let mut offset = 0;
    let entries = sorted
        .iter()
        .map(|(dtype, name, content)| {
            let start = offset;
            offset += content.bytes();
            let entry =
                HeaderEntry { dtype: *dtype, shape: content.shape().to_vec(), data_offsets: (start, offset) };
            ((*name).clone(), entry)
        })
        .collect();
    let refused = |why: String| StoreError::format(path, why);
    let text = text.map(|(name, text)| HashMap::from([(name.to_owned(), text)]));
    let header = Metadata::new(text, entries).map_err(|e| refused(e.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| refused(e.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut writer = Hashed::new(writer);
    let mut put = |bytes: &[u8]| writer.write_all(bytes).map_err(StoreError::write(path));
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    for (_, name, content) in sorted {
        match content {
            Content::Tensor(tensor) => write_data(tensor, name, &mut put)?,
            Content::I8(values, _) => convert(values, |value| value.to_le_bytes(), &mut put)?,
        }
    }
    Ok(writer.info())
}

/// Hands the elements of one tensor, row-major and little-endian, to `put`.
fn write_data(
    tensor: &Tensor,
    name: &str,
    put: &mut impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = |source| StoreError::Tensor { name: name.to_owned(), source };
    // Neither call copies when there is nothing to do.
    let tensor = tensor.to_device(&Device::Cpu).and_then(|tensor| tensor.contiguous()).map_err(failed)?;
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = layout.contiguous_offsets().expect("made contiguous above");
    let Storage::Cpu(storage) = &*storage else { unreachable!("moved to the CPU above") };
    match storage {
        CpuStorage::U8(values) => put(&values[start..end]),
        CpuStorage::U32(values) => convert(&values[start..end], |value| value.to_le_bytes(), put),
        CpuStorage::I16(values) => convert(&values[start..end], |value| value.to_le_bytes(), put),
        CpuStorage::I32(values) => convert(&values[start..end], |value| value.to_le_bytes(), put),
        CpuStorage::I64(values) => convert(&values[start..end], |value| value.to_le_bytes(), put),
        CpuStorage::F16(values) => convert(&values[start..end], |value| value.to_le_bytes(), put),
        CpuStorage::BF16(values) => convert(&values[start..end], |value| value.to_le_bytes(), put),
        CpuStorage::F32(values) => convert(&values[start..end], |value| value.to_le_bytes(), put),
        CpuStorage::F64(values) => convert(&values[start..end], |value| value.to_le_bytes(), put),
        _ => unreachable!("other types were refused before the header was written"),
    }
}

fn convert<T: Copy, const N: usize>(
    values: &[T],
    bytes: impl Fn(T) -> [u8; N],
    put: &mut impl FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut buffer = vec![[0; N]; (BUFFER / N).min(values.len())];
    for chunk in values.chunks(BUFFER / N) {
        // These are slots of a fixed size and not a growing list. On a little-endian machine, this becomes a block
        // copy.
        let slots = &mut buffer[..chunk.len()];
        slots.iter_mut().zip(chunk).for_each(|(slot, &value)| *slot = bytes(value));
        put(slots.as_flattened())?;
    }
    Ok(())
}

/// Reads all tensors of a file into host memory, sorted by name, and checks the file against `expected` on the way.
pub(super) fn read(path: &Path, expected: Option<FileInfo>) -> Result<Vec<(String, Tensor)>, StoreError> {
    read_as(path, expected, read_data)
}

/// Reads all tensors of a file into host memory, sorted by name. Those of whole numbers of 8 bits come as such.
pub(super) fn read_arrays(path: &Path) -> Result<Arrays, StoreError> {
    read_as(path, None, |reader, entry| {
        if entry.dtype != Dtype::I8 {
            return Ok(Array::Float(read_data(reader, entry)?));
        }
        let mut bytes = vec![0u8; entry.data_offsets.1 - entry.data_offsets.0];
        reader.read_exact(&mut bytes).map_err(DataError::Io)?;
        let values = bytes.into_iter().map(u8::cast_signed).collect();
        Ok(Array::I8 { shape: entry.shape.clone(), values })
    })
}

/// The text beside the tensors of a file under `name`, if there is one.
pub(super) fn read_text(path: &Path, name: &str) -> Result<Option<String>, StoreError> {
    Ok(open(path)?.text.remove(name))
}

fn read_as<T>(
    path: &Path,
    expected: Option<FileInfo>,
    read: impl Fn(&mut FileReader, &HeaderEntry) -> Result<T, DataError>,
) -> Result<Vec<(String, T)>, StoreError> {
    let Opened { mut reader, entries, .. } = open(path)?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let tensor = read(&mut reader, &entry).map_err(|error| match error {
            DataError::Io(source) => StoreError::read(path)(source),
            DataError::Tensor(source) => StoreError::Tensor { name: name.clone(), source },
        })?;
        tensors.push((name, tensor));
    }
    if let Some(expected) = expected {
        super::manifest::check_content(path, reader.info(), expected)?;
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tensors)
}

/// The tensors that a file holds, sorted by name, from its header alone.
pub(super) fn read_infos(path: &Path) -> Result<Vec<TensorInfo>, StoreError> {
    let mut infos: Vec<TensorInfo> = open(path)?
        .entries
        .into_iter()
        .map(|(name, entry)| TensorInfo { name, dtype: format!("{:?}", entry.dtype), shape: entry.shape })
        .collect();
    infos.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(infos)
}

type FileReader = Hashed<BufReader<Reader>>;

/// A file whose header was read.
struct Opened {
    /// Stands at the first byte of the data.
    reader: FileReader,
    /// The tensors, in the order of their data.
    entries: Vec<(String, HeaderEntry)>,
    /// The texts beside them, by name.
    text: HashMap<String, String>,
}

/// Reads the header and checks it against the length of the file, so that its numbers can be trusted for allocation.
fn open(path: &Path) -> Result<Opened, StoreError> {
    let damaged = |why: String| StoreError::damaged(path, why);
    let Input { reader, length, .. } = io::open(path).map_err(StoreError::read(path))?;
    let mut reader = Hashed::new(BufReader::with_capacity(BUFFER, reader));
    let mut prefix = [0; 8];
    if length < 8 {
        return Err(damaged(format!("{length} bytes are no safetensors file")));
    }
    reader.read_exact(&mut prefix).map_err(StoreError::read(path))?;
    let header_length = u64::from_le_bytes(prefix);
    if header_length > length - 8 {
        return Err(damaged(format!("header of {header_length} bytes in a file of {length}")));
    }
    let mut header = vec![0; header_length as usize];
    reader.read_exact(&mut header).map_err(StoreError::read(path))?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| damaged(format!("header: {e}")))?;
    let expected = metadata.data_len() as u64;
    let found = length - 8 - header_length;
    if found != expected {
        return Err(damaged(format!("{found} bytes of data, the header says {expected}")));
    }
    let entries = metadata
        .offset_keys()
        .into_iter()
        .filter_map(|name| metadata.info(&name).cloned().map(|entry| (name, entry)))
        .collect();
    let text = metadata.metadata().clone().unwrap_or_default();
    Ok(Opened { reader, entries, text })
}

enum DataError {
    Io(std::io::Error),
    Tensor(candle_core::Error),
}

fn read_data(reader: &mut impl Read, entry: &HeaderEntry) -> Result<Tensor, DataError> {
    let bytes = entry.data_offsets.1 - entry.data_offsets.0;
    let dtype = DType::try_from(entry.dtype).map_err(DataError::Tensor)?;
    let shape = entry.shape.as_slice();
    if dtype != DType::F32 {
        // Such tensors are small or rare, so they go through one copy.
        let mut raw = vec![0; bytes];
        reader.read_exact(&mut raw).map_err(DataError::Io)?;
        return Tensor::from_raw_buffer(&raw, dtype, shape, &Device::Cpu).map_err(DataError::Tensor);
    }
    let mut values: Vec<f32> = Vec::with_capacity(bytes / 4);
    let mut buffer = vec![0; BUFFER.min(bytes)];
    let mut left = bytes;
    while left > 0 {
        let part = &mut buffer[..BUFFER.min(left)];
        reader.read_exact(part).map_err(DataError::Io)?;
        let (words, _) = part.as_chunks::<4>();
        values.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
        left -= part.len();
    }
    Tensor::from_vec(values, shape, &Device::Cpu).map_err(DataError::Tensor)
}
