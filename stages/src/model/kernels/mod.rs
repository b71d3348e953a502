//! What the fused CPU kernels share: the two float types, and flat views of tensors. The one law: work is split into
//! parts whose size does not depend on the number of threads, and partial sums are added in the order of the parts.

mod columns;

use std::ops::Deref;

use candle_core::{Layout, Result, Storage, StorageRef, Tensor, WithDType};

pub(super) use columns::{Columns, add_row, column_moments, column_sums};

/// `f32` or `f64`.
pub(crate) trait Real: WithDType + Default + std::ops::Neg<Output = Self> {
    fn exp(self) -> Self;
    fn sqrt(self) -> Self;
    fn ln_1p(self) -> Self;
    fn ln(self) -> Self;
    fn abs(self) -> Self;
}

macro_rules! real {
    ($float:ty) => {
        impl Real for $float {
            fn exp(self) -> Self {
                self.exp()
            }
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            fn ln_1p(self) -> Self {
                self.ln_1p()
            }
            fn ln(self) -> Self {
                self.ln()
            }
            fn abs(self) -> Self {
                self.abs()
            }
        }
    };
}
real!(f32);
real!(f64);

/// 1 / (1 + e^−x), without overflow on either side.
pub(super) fn sigmoid<T: Real>(x: T) -> T {
    let e = (-x.abs()).exp();
    let (numerator, denominator) = if x >= T::zero() { (T::one(), T::one() + e) } else { (e, T::one() + e) };
    numerator / denominator
}

/// Runs `$body` with `$T` standing for the float type of `$dtype`.
macro_rules! for_float {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("tensors of the model are F32 or F64, not {other:?}"),
        }
    };
}
pub(crate) use for_float;

/// The values of a contiguous CPU tensor, read in place.
pub(crate) struct Flat<'a, T> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
    values: std::marker::PhantomData<T>,
}

impl<'a, T: WithDType> Flat<'a, T> {
    /// Fails for a tensor that is elsewhere, of another type, or not contiguous.
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
pub(super) fn to_f64(tensor: &Tensor) -> Result<Vec<f64>> {
    for_float!(tensor.dtype(), T => {
        let values = tensor.detach().flatten_all()?.contiguous()?;
        Ok(Flat::<T>::of(&values)?.iter().map(|v| WithDType::to_f64(*v)).collect())
    })
}
