//! The weighted sum of several tensors in one pass over memory.

use candle_core::{Device, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::kernels::flat::Flat;
use crate::kernels::float::{Real, for_float};

/// The sum of `parts`, which are tensors of one shape, each times its weight. The parts are added in their order.
pub(crate) fn weighted_sum(parts: &[Tensor], weights: &[f64]) -> Result<Tensor> {
    let Some(first) = parts.first() else { candle_core::bail!("no tensors to sum") };
    for_float!(first.dtype(), T => weighted_sum_as::<T>(parts, weights, first.shape()))
}

fn weighted_sum_as<T: Real>(parts: &[Tensor], weights: &[f64], shape: &Shape) -> Result<Tensor> {
    const PART: usize = 1 << 14;
    let values = parts.iter().map(Flat::<T>::of).collect::<Result<Vec<_>>>()?;
    let values: Vec<&[T]> = values.iter().map(|values| &**values).collect();
    let weights: Vec<T> = weights.iter().map(|weight| T::from_f64(*weight)).collect();
    let mut sums = vec![T::zero(); shape.elem_count()];
    sums.par_chunks_mut(PART).enumerate().for_each(|(part, sums)| {
        for (values, weight) in values.iter().zip(&weights) {
            for (sum, value) in sums.iter_mut().zip(&values[part * PART..]) {
                *sum += *value * *weight;
            }
        }
    });
    Tensor::from_vec(sums, shape, &Device::Cpu)
}
