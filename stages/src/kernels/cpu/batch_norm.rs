//! Batch normalisation in training. Moments and values take two passes over the batch, and the gradient takes two more.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::columns::{Columns, column_moments};
use crate::kernels::flat::{Flat, reals, to_f64, vector};
use crate::kernels::float::{Real, for_float};
use crate::kernels::moments::NormMoments;
use crate::kernels::tape::attach;

/// The scale and the shift of a batch norm, each [C].
pub(crate) struct Norm<'a> {
    /// The scale.
    pub(crate) weight: &'a Tensor,
    /// The shift.
    pub(crate) bias: &'a Tensor,
    /// The number that is added to every variance.
    pub(crate) epsilon: f64,
}

/// Normalises `x` [B, C] with its own mean and biased variance. Returns the result with its tape, and these moments.
pub(crate) fn train(x: &Tensor, norm: &Norm) -> Result<(Tensor, NormMoments)> {
    for_float!(x.dtype(), T => train_as::<T>(x, norm))
}

fn train_as<T: Real>(x: &Tensor, norm: &Norm) -> Result<(Tensor, NormMoments)> {
    let (rows, width) = x.dims2()?;
    let input = x.detach().contiguous()?;
    let (mean, variance) =
        column_moments(Columns { values: &Flat::<T>::of(&input)?, stride: width, width }, None);
    let spread: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + norm.epsilon).sqrt()).collect();
    let weight = to_f64(norm.weight)?;
    let moments = NormMoments { mean: vector::<T>(&mean)?, variance: vector::<T>(&variance)?, rows };

    let (shift, factor): (Vec<T>, Vec<T>) =
        (reals(&mean), spread.iter().zip(&weight).map(|(s, w)| T::from_f64(s * w)).collect());
    let bias: Vec<T> = reals(&to_f64(norm.bias)?);
    let mut y = vec![T::zero(); rows * width];
    let values = Flat::<T>::of(&input)?;
    y.par_chunks_mut(width.max(1)).zip(values.par_chunks(width.max(1))).for_each(|(y, x)| {
        for column in 0..width {
            y[column] = (x[column] - shift[column]) * factor[column] + bias[column];
        }
    });
    drop(values);

    let backward = move |_: &Tensor, gradient: &Tensor| {
        let (x, dy) = (Flat::<T>::of(&input)?, Flat::<T>::of(gradient)?);
        let (x, dy) = (&*x, &*dy);
        // This computes Σ dy and Σ dy·x̂ for each column. The columns are split among threads, and the rows of each
        // column are added in order.
        let sums: Vec<(f64, f64)> = (0..width.div_ceil(256))
            .into_par_iter()
            .flat_map_iter(|part| {
                let columns = part * 256..width.min((part + 1) * 256);
                let mut sums = vec![(0.0, 0.0); columns.len()];
                for row in 0..rows {
                    let span = row * width + columns.start..row * width + columns.end;
                    for (((sum, x), dy), column) in
                        sums.iter_mut().zip(&x[span.clone()]).zip(&dy[span]).zip(columns.clone())
                    {
                        sum.0 += dy.to_f64();
                        sum.1 += dy.to_f64() * (x.to_f64() - mean[column]) * spread[column];
                    }
                }
                sums
            })
            .collect();
        // dx = w·s·(dy − Σdy/n − x̂·Σ(dy·x̂)/n), s = 1/sqrt(variance + ε)
        let n = rows as f64;
        let outer: Vec<T> = (0..width).map(|c| T::from_f64(weight[c] * spread[c])).collect();
        let middle: Vec<T> = (0..width).map(|c| T::from_f64(sums[c].0 / n)).collect();
        let slope: Vec<T> = (0..width).map(|c| T::from_f64(sums[c].1 / n * spread[c])).collect();
        let mut dx = vec![T::zero(); rows * width];
        dx.par_chunks_mut(width).enumerate().for_each(|(row, dx)| {
            let span = row * width..(row + 1) * width;
            let (x, dy) = (&x[span.clone()], &dy[span]);
            for c in 0..width {
                dx[c] = outer[c] * (dy[c] - middle[c] - (x[c] - shift[c]) * slope[c]);
            }
        });
        let dweight: Vec<f64> = sums.iter().map(|sums| sums.1).collect();
        let dbias: Vec<f64> = sums.iter().map(|sums| sums.0).collect();
        let dx = Tensor::from_vec(dx, (rows, width), &Device::Cpu)?;
        Ok(vec![Some(dx), Some(vector::<T>(&dweight)?), Some(vector::<T>(&dbias)?)])
    };
    let y = Tensor::from_vec(y, (rows, width), &Device::Cpu)?;
    let y = attach("batch_norm", y, &[x, norm.weight, norm.bias], Box::new(backward))?;
    Ok((y, moments))
}
