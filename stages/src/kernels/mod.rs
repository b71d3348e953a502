//! Numeric kernels: what models and optimizers compute with hand-written loops in place of tensor operations.
//!
//! Work is split into parts whose size does not depend on the number of threads, and partial sums are added in the order
//! of the parts, so that the number of threads changes no number. Kernels know tensors, never a model: the arrows go
//! from [`crate::model`] and [`crate::optim`] to here.

pub(crate) mod adam;
pub(crate) mod backend;
pub(crate) mod bf16;
pub(crate) mod branch;
pub(crate) mod cpu;
pub(crate) mod cuda;
pub(crate) mod deposits;
pub(crate) mod exp;
pub(crate) mod finite;
pub(crate) mod flat;
pub(crate) mod float;
pub(crate) mod forms;
pub(crate) mod int8;
pub(crate) mod moments;
pub(crate) mod precision;
pub(crate) mod tape;
pub(crate) mod tiles;
pub(crate) mod wide;
