//! Tensors in safetensors files. They are streamed, so there is never a second copy of more than a small buffer.
//!
//! Law: equal tensors give equal bytes, which are those that the safetensors crate itself would write.
//!
//! The layout (<https://huggingface.co/docs/safetensors>) is the length of the header as u64, the JSON header padded
//! with spaces to 8 bytes, and then the data. Tensors with the widest types come first, and tensors of one width by
//! name.

use std::io::{BufReader, Read, Write};
use std::path::Path;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use safetensors::tensor::{Dtype, Metadata, TensorInfo as HeaderEntry};
use serde::Serialize;

use super::error::StoreError;
use super::hashed::Hashed;
use super::manifest::FileInfo;
use crate::io::{self, Input, Reader};

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

/// Streams tensors out. `path` is for messages. Tensors on a device are copied to host memory one at a time.
pub(super) fn write(
    writer: impl Write,
    path: &Path,
    tensors: &[(String, Tensor)],
) -> Result<FileInfo, StoreError> {
    let mut sorted = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let dtype = tensor.dtype();
        if !matches!(
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
        ) {
            return Err(StoreError::format(path, format!("tensor {name}: cannot store {dtype:?}")));
        }
        sorted.push((Dtype::from(dtype), name, tensor));
    }
    sorted.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let mut names: Vec<&String> = tensors.iter().map(|(name, _)| name).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(StoreError::format(path, format!("two tensors are named {}", twice[0])));
    }
    if names.iter().any(|name| *name == "__metadata__") {
        return Err(StoreError::format(path, "a tensor cannot be named __metadata__"));
    }

    let mut offset = 0;
    let entries = sorted
        .iter()
        .map(|(dtype, name, tensor)| {
            let start = offset;
            offset += tensor.elem_count() * tensor.dtype().size_in_bytes();
            let entry =
                HeaderEntry { dtype: *dtype, shape: tensor.dims().to_vec(), data_offsets: (start, offset) };
            ((*name).clone(), entry)
        })
        .collect();
    let refused = |why: String| StoreError::format(path, why);
    let header = Metadata::new(None, entries).map_err(|e| refused(e.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| refused(e.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut writer = Hashed::new(writer);
    let mut put = |bytes: &[u8]| writer.write_all(bytes).map_err(StoreError::write(path));
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    for (_, name, tensor) in sorted {
        write_data(tensor, name, &mut put)?;
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
    let (mut reader, entries) = open(path)?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let tensor = read_data(&mut reader, &entry).map_err(|error| match error {
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
    let (_, entries) = open(path)?;
    let mut infos: Vec<TensorInfo> = entries
        .into_iter()
        .map(|(name, entry)| TensorInfo { name, dtype: format!("{:?}", entry.dtype), shape: entry.shape })
        .collect();
    infos.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(infos)
}

type Opened = (Hashed<BufReader<Reader>>, Vec<(String, HeaderEntry)>);

/// Reads the header and checks it against the length of the file, so that its numbers can be trusted for allocation.
/// The entries come in the order of their data.
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
    Ok((reader, entries))
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
