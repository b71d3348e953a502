//! Kernels of NVIDIA GPUs, with gradients that are written by hand.
//!
//! The sources in `source` are CUDA C++. With the feature `cuda`, the build compiles them to PTX, which the driver
//! translates for its card when a kernel is first launched. They are compiled at build time rather than by NVRTC at run
//! time, because then a mistake in a source fails the build, and a machine that runs the program needs nothing but the
//! driver: no headers, and no compiler at the start.
//!
//! The functions of this module work on tensors of any device up to the launch of a kernel ([`launch`]). In tests, a
//! launch with tensors on the CPU runs in an emulator ([`emulated`]): so all of this module but the call of the driver is
//! tested without a GPU, with the arguments that a GPU would get.
//!
//! Laws: no sum depends on an order of arrival, so two runs give the same bits. Models are f32; products take f32 or bf16
//! operands, and their sums and results are f32. Nothing here waits for the card, except where a function says so.

pub(crate) mod adam;
pub(crate) mod batch_norm;
mod call;
pub(crate) mod cluster;
pub(crate) mod codes;
mod columns;
#[cfg(test)]
mod emulated;
mod launch;
pub(crate) mod linear;
pub(crate) mod normalize;
mod pool;
pub(crate) mod product;
#[cfg(test)]
mod tests;
pub(crate) mod upload;

#[cfg(test)]
pub(crate) use emulated::{counted, places, program};

use candle_core::{DType, Result, Tensor};

/// Refuses a tensor of another type than f32, which no kernel takes.
fn only_f32(tensor: &Tensor) -> Result<()> {
    if tensor.dtype() != DType::F32 {
        candle_core::bail!("the kernels of the GPU compute in F32, and a tensor is {:?}", tensor.dtype());
    }
    Ok(())
}
