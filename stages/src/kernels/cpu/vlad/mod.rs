//! NeXtVLAD's clustering of the frames of one modality.
//!
//! [`dequantize`] makes features of bytes, [`frames`] takes products with them, [`cluster`] makes residuals of frames as one node on the tape (from the
//! kernels of the assignment and of the pooling), and [`normalize`] brings the residuals to length one. [`merged`] does all of it in evaluation with bf16.

mod assign;
pub(crate) mod cluster;
pub(crate) mod dequantize;
pub(crate) mod frames;
pub(crate) mod merged;
pub(crate) mod normalize;
mod pool;
