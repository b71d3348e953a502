//! Fused kernels for the CPU with hand-written gradients. Each computes the same numbers as the plain operations that
//! call it, up to rounding, in fewer passes over memory.

pub(crate) mod adam;
pub(crate) mod affine;
pub(crate) mod batch_norm;
pub(crate) mod columns;
pub(crate) mod cross_entropy;
pub(crate) mod lanes;
pub(crate) mod largest;
pub(crate) mod linear;
pub(crate) mod matmul;
pub(crate) mod mean;
pub(crate) mod mixture;
pub(crate) mod slices;
pub(crate) mod squares;
pub(crate) mod vlad;
