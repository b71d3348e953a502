//! Tensors on the CPU as slices of numbers, and slices as tensors.

use std::ops::Deref;

use candle_core::{Device, Layout, Result, Storage, StorageRef, Tensor, WithDType};

use super::float::{Real, for_float};

/// The values of a contiguous CPU tensor, read in place.
pub(crate) struct Flat<'a, T> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
    values: std::marker::PhantomData<T>,
}

impl<'a, T: WithDType> Flat<'a, T> {
    /// Fails for a tensor that is on another device, has another type, or is not contiguous.
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        match &*storage {
            Storage::Cpu(cpu) => cpu.as_slice::<T>()?,
            _ => candle_core::bail!("a CPU kernel was given a tensor on {:?}", tensor.device()),
        };
        if layout.contiguous_offsets().is_none() {
            candle_core::bail!("a CPU kernel was given a tensor that is not contiguous");
        }
        Ok(Self { storage, layout, values: std::marker::PhantomData })
    }
}

impl<T: WithDType> Deref for Flat<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let (Storage::Cpu(cpu), Some((start, end))) = (&*self.storage, self.layout.contiguous_offsets())
        else {
            unreachable!("checked when the view was made")
        };
        &cpu.as_slice::<T>().expect("checked when the view was made")[start..end]
    }
}

/// The `f64` values of a small vector of either float type.
pub(crate) fn to_f64(tensor: &Tensor) -> Result<Vec<f64>> {
    for_float!(tensor.dtype(), T => {
        let values = tensor.detach().flatten_all()?.contiguous()?;
        Ok(Flat::<T>::of(&values)?.iter().map(|v| WithDType::to_f64(*v)).collect())
    })
}

/// A contiguous CPU tensor of `values`.
pub(crate) fn tensor<T: Real>(values: Vec<T>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// A vector of the float type `T` from `f64` values, on the CPU.
pub(crate) fn vector<T: Real>(values: &[f64]) -> Result<Tensor> {
    Tensor::from_vec(reals::<T>(values), values.len(), &Device::Cpu)
}

/// `f64` values in the float type `T`.
pub(crate) fn reals<T: Real>(values: &[f64]) -> Vec<T> {
    values.iter().map(|value| T::from_f64(*value)).collect()
}
