//! From bytes to features in one pass.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use crate::kernels::flat::{Flat, tensor, to_f64};
use crate::kernels::float::{Real, for_float};

/// The features [N, F] of byte rows [N, F]: `q · 4/255 − 2 + offset`, times `scale` [F] if there is one.
pub(crate) fn dequantize(
    bytes: &Tensor,
    offset: f64,
    scale: Option<&Tensor>,
    dtype: DType,
) -> Result<Tensor> {
    for_float!(dtype, T => dequantize_as::<T>(bytes, offset, scale))
}

fn dequantize_as<T: Real>(bytes: &Tensor, offset: f64, scale: Option<&Tensor>) -> Result<Tensor> {
    let (rows, width) = bytes.dims2()?;
    let bytes = bytes.contiguous()?;
    let bytes = Flat::<u8>::of(&bytes)?;
    let scale = scale.map_or(Ok(vec![1.0; width]), to_f64)?;
    let factor: Vec<T> = scale.iter().map(|scale| T::from_f64(scale * 4.0 / 255.0)).collect();
    let shift: Vec<T> = scale.iter().map(|scale| T::from_f64(scale * (offset - 2.0))).collect();
    let mut x = vec![T::zero(); rows * width];
    x.par_chunks_mut(64 * width.max(1)).zip(bytes.par_chunks(64 * width.max(1))).for_each(|(x, bytes)| {
        for (x, bytes) in x.chunks_mut(width).zip(bytes.chunks(width)) {
            for (((x, byte), factor), shift) in x.iter_mut().zip(bytes).zip(&factor).zip(&shift) {
                *x = T::from_f64(f64::from(*byte)) * *factor + *shift;
            }
        }
    });
    tensor(x, &[rows, width])
}
