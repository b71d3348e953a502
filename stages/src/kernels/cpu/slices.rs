//! Access in place to the values of CPU tensors, through candle's in-place operations and without `unsafe`.

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

use crate::kernels::float::Real;

/// The writable values of a CPU storage of either float type.
pub(crate) trait FloatStorage: Real {
    fn values(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl FloatStorage for f32 {
    fn values(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F32(values) => Some(values),
            _ => None,
        }
    }
}

impl FloatStorage for f64 {
    fn values(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F64(values) => Some(values),
            _ => None,
        }
    }
}

/// Calls `body` with the writable values of a contiguous CPU tensor. The caller makes sure that nobody else reads them.
fn with_values<T: FloatStorage, F>(tensor: &Tensor, body: F) -> Result<()>
where
    F: FnOnce(&mut [T]) -> Result<()>,
{
    struct Visit<F, T>(Mutex<Option<F>>, std::marker::PhantomData<T>);

    impl<T: FloatStorage, F: FnOnce(&mut [T]) -> Result<()>> InplaceOp1 for Visit<F, T> {
        fn name(&self) -> &'static str {
            "visit"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let (Some(values), Some((start, end))) = (T::values(storage), layout.contiguous_offsets()) else {
                candle_core::bail!("expected a contiguous tensor of {:?}", T::DTYPE);
            };
            let body = self.0.lock().ok().and_then(|mut body| body.take());
            let body = body.ok_or_else(|| candle_core::Error::msg("visit: called twice"))?;
            body(&mut values[start..end])
        }
    }

    tensor.inplace_op1(&Visit(Mutex::new(Some(body)), std::marker::PhantomData))
}

/// Calls `body` with the writable values of three different contiguous CPU tensors, as [`with_values`] does with one.
pub(crate) fn with_three<T: FloatStorage>(
    [first, second, third]: [&Tensor; 3],
    body: impl FnOnce(&mut [T], &mut [T], &mut [T]) -> Result<()>,
) -> Result<()> {
    with_values(first, |first| {
        with_values(second, |second| with_values(third, |third| body(first, second, third)))
    })
}
