//! Norms of gradients, in f64, summed in an order that no number of threads changes.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use crate::model::{Flat, Real, for_float};

/// Elements of one part; fixed, since it decides the order of the sums.
const PART: usize = 1 << 16;

/// Sum over `gradient + l2·parameter` of the squares; `l2` of 0 leaves the parameter unread.
pub(super) fn sum_of_squares(gradient: &Tensor, parameter: &Tensor, l2: f64) -> Result<f64> {
    if gradient.device().is_cpu() {
        return for_float!(gradient.dtype(), T => on_cpu::<T>(gradient, parameter, l2));
    }
    let sum = if l2 == 0.0 { gradient.clone() } else { (gradient + parameter.affine(l2, 0.0)?)? };
    sum.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar()
}

fn on_cpu<T: Real>(gradient: &Tensor, parameter: &Tensor, l2: f64) -> Result<f64> {
    let (gradient, parameter) = (gradient.contiguous()?, parameter.detach().contiguous()?);
    let (gradient, parameter) = (Flat::<T>::of(&gradient)?, Flat::<T>::of(&parameter)?);
    let parts: Vec<f64> = gradient
        .par_chunks(PART)
        .zip(parameter.par_chunks(PART))
        .map(|(gradient, parameter)| {
            // Eight sums, so that the additions need not wait for each other; their order is fixed too.
            let mut sums = [0.0; 8];
            for (gradient, parameter) in gradient.chunks(8).zip(parameter.chunks(8)) {
                for ((sum, gradient), parameter) in sums.iter_mut().zip(gradient).zip(parameter) {
                    let value = if l2 == 0.0 { *gradient } else { *gradient + T::from_f64(l2) * *parameter };
                    *sum += value.to_f64() * value.to_f64();
                }
            }
            sums.iter().sum()
        })
        .collect();
    Ok(parts.iter().sum())
}
