//! Sums of squares in f64, in an order that no number of threads changes.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::kernels::flat::Flat;
use crate::kernels::float::{Real, for_float};

/// The number of elements of one part. It is fixed, because it decides the order of the sums.
const PART: usize = 1 << 16;

/// The sum of the squares of `gradient + l2·parameter`, in f64. With an `l2` of 0, the parameter is not read.
pub(crate) fn sum_of_squares(gradient: &Tensor, parameter: &Tensor, l2: f64) -> Result<f64> {
    for_float!(gradient.dtype(), T => sum_of_squares_as::<T>(gradient, parameter, l2))
}

fn sum_of_squares_as<T: Real>(gradient: &Tensor, parameter: &Tensor, l2: f64) -> Result<f64> {
    let (gradient, parameter) = (gradient.contiguous()?, parameter.detach().contiguous()?);
    let (gradient, parameter) = (Flat::<T>::of(&gradient)?, Flat::<T>::of(&parameter)?);
    let parts: Vec<f64> = gradient
        .par_chunks(PART)
        .zip(parameter.par_chunks(PART))
        .map(|(gradient, parameter)| {
            // There are eight sums, so that the additions need not wait for each other. Their order is fixed too.
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
