//! Sums of squares in f64, in an order that no number of threads changes.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::kernels::flat::Flat;
use crate::kernels::float::{Real, for_float};

/// The sums of the squares of `gradient + l2·parameter` over each `piece` elements, in f64. The last piece may be
/// shorter. With an `l2` of 0, the parameter is not read.
pub(crate) fn sums_of_squares(
    gradient: &Tensor,
    parameter: &Tensor,
    l2: f64,
    piece: usize,
) -> Result<Vec<f64>> {
    for_float!(gradient.dtype(), T => sums_of_squares_as::<T>(gradient, parameter, l2, piece))
}

fn sums_of_squares_as<T: Real>(
    gradient: &Tensor,
    parameter: &Tensor,
    l2: f64,
    piece: usize,
) -> Result<Vec<f64>> {
    let (gradient, parameter) = (gradient.contiguous()?, parameter.detach().contiguous()?);
    let (gradient, parameter) = (Flat::<T>::of(&gradient)?, Flat::<T>::of(&parameter)?);
    let pieces = gradient.par_chunks(piece).zip(parameter.par_chunks(piece));
    let sums = pieces.map(|(gradient, parameter)| {
        // There are eight sums, so that the additions need not wait for each other. Their order is fixed too.
        let mut sums = [0.0; 8];
        for (gradient, parameter) in gradient.chunks(8).zip(parameter.chunks(8)) {
            for ((sum, gradient), parameter) in sums.iter_mut().zip(gradient).zip(parameter) {
                let value = if l2 == 0.0 { *gradient } else { *gradient + T::from_f64(l2) * *parameter };
                *sum += value.to_f64() * value.to_f64();
            }
        }
        sums.iter().sum()
    });
    Ok(sums.collect())
}
