//! Tensors as bytes, for other ranks.

use candle_core::{DType, Device, Result, Shape, Tensor};

use crate::kernels::flat::Flat;

/// The values of a tensor as bytes, in row-major order and in the order of the machine's bytes.
pub(super) enum Bytes<'a> {
    F32(Flat<'a, f32>),
    F64(Flat<'a, f64>),
}

impl<'a> Bytes<'a> {
    /// The bytes of a contiguous tensor in the memory of the host, read in place.
    pub(super) fn of(tensor: &'a Tensor) -> Result<Self> {
        match tensor.dtype() {
            DType::F32 => Ok(Self::F32(Flat::of(tensor)?)),
            DType::F64 => Ok(Self::F64(Flat::of(tensor)?)),
            other => candle_core::bail!("tensors of the type {other:?} are not sent to other ranks"),
        }
    }

    pub(super) fn get(&self) -> &[u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice(values),
            Self::F64(values) => bytemuck::cast_slice(values),
        }
    }
}

/// The place for the values of a tensor that another rank sends.
pub(super) enum Place {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Place {
    pub(super) fn new(dtype: DType, elements: usize) -> Result<Self> {
        match dtype {
            DType::F32 => Ok(Self::F32(vec![0.0; elements])),
            DType::F64 => Ok(Self::F64(vec![0.0; elements])),
            other => candle_core::bail!("tensors of the type {other:?} are not sent to other ranks"),
        }
    }

    pub(super) fn get(&mut self) -> &mut [u8] {
        match self {
            Self::F32(values) => bytemuck::cast_slice_mut(values),
            Self::F64(values) => bytemuck::cast_slice_mut(values),
        }
    }

    /// The values as a tensor in the memory of the host.
    pub(super) fn tensor(self, shape: &Shape) -> Result<Tensor> {
        match self {
            Self::F32(values) => Tensor::from_vec(values, shape, &Device::Cpu),
            Self::F64(values) => Tensor::from_vec(values, shape, &Device::Cpu),
        }
    }
}

/// The types and the shapes of tensors, so that others can make place for them.
pub(crate) fn describe(tensors: &[Tensor]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |value: usize| bytes.extend((value as u64).to_le_bytes());
    for tensor in tensors {
        put(tensor.dtype().size_in_bytes());
        put(tensor.dims().len());
        tensor.dims().iter().for_each(|size| put(*size));
    }
    bytes
}

/// The inverse of [`describe`].
pub(crate) fn described(bytes: &[u8]) -> Result<Vec<(DType, Shape)>> {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mut described = Vec::new();
    while let Some(size) = words.next() {
        let dtype = match size {
            4 => DType::F32,
            8 => DType::F64,
            other => candle_core::bail!("another rank described numbers of {other} bytes"),
        };
        let count = words.next().unwrap_or_default();
        let dims: Vec<usize> = (0..count).map_while(|_| words.next()).map(|size| size as usize).collect();
        if dims.len() as u64 != count {
            candle_core::bail!("another rank described a tensor without all of its sizes");
        }
        described.push((dtype, Shape::from(dims)));
    }
    if !rest.is_empty() {
        candle_core::bail!("another rank described tensors in {} bytes", bytes.len());
    }
    Ok(described)
}

/// Tensors as bytes that say their own shapes.
pub(crate) fn to_bytes(tensors: &[Tensor]) -> Result<Vec<u8>> {
    let head = describe(tensors);
    let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
    bytes.extend(head);
    for tensor in tensors {
        let tensor = tensor.detach().to_device(&Device::Cpu)?.contiguous()?;
        bytes.extend(Bytes::of(&tensor)?.get());
    }
    Ok(bytes)
}

/// The inverse of [`to_bytes`]. The tensors lie in the memory of the host.
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Vec<Tensor>> {
    let cut = || candle_core::Error::msg("tensors of another rank end too early");
    let (length, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
    let (head, mut rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    let mut tensors = Vec::new();
    for (dtype, shape) in described(head)? {
        let mut place = Place::new(dtype, shape.elem_count())?;
        let (values, more) = rest.split_at_checked(place.get().len()).ok_or_else(cut)?;
        place.get().copy_from_slice(values);
        tensors.push(place.tensor(&shape)?);
        rest = more;
    }
    Ok(tensors)
}
