//! Batch normalisation of [B, C] matrices. The one law: training normalises with the batch's mean and biased variance
//! and returns them; evaluation uses running ones.

use candle_core::{D, Device, Result, Tensor};
use rayon::prelude::*;

use super::NormMoments;
use super::kernels::{Columns, Flat, Real, column_moments, for_float, to_f64};
use super::node::attach;

/// Scale and shift of a batch norm, each [C].
pub(super) struct Norm<'a> {
    pub(super) weight: &'a Tensor,
    pub(super) bias: &'a Tensor,
    pub(super) epsilon: f64,
}

/// `x` [B, C] normalised with its own moments, and these.
pub(super) fn train(x: &Tensor, norm: &Norm, fused: bool) -> Result<(Tensor, NormMoments)> {
    if fused { train_fused(x, norm) } else { train_plain(x, norm) }
}

fn train_plain(x: &Tensor, norm: &Norm) -> Result<(Tensor, NormMoments)> {
    let mean = x.mean_keepdim(0)?;
    let centered = x.broadcast_sub(&mean)?;
    let variance = centered.sqr()?.mean_keepdim(0)?;
    let normal = centered.broadcast_div(&(&variance + norm.epsilon)?.sqrt()?)?;
    let y = normal.broadcast_mul(norm.weight)?.broadcast_add(norm.bias)?;
    let moments = NormMoments {
        mean: mean.detach().squeeze(0)?,
        variance: variance.detach().squeeze(0)?,
        rows: x.dim(0)?,
    };
    Ok((y, moments))
}

/// `x` [B, C] normalised with running moments; no tape is made of what has none.
pub(super) fn eval(x: &Tensor, norm: &Norm, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
    let scale = norm.weight.div(&(variance + norm.epsilon)?.sqrt()?)?;
    let shift = norm.bias.sub(&mean.mul(&scale)?)?;
    x.broadcast_mul(&scale)?.broadcast_add(&shift)
}

fn train_fused(x: &Tensor, norm: &Norm) -> Result<(Tensor, NormMoments)> {
    for_float!(x.dtype(), T => train_fused_as::<T>(x, norm))
}

fn train_fused_as<T: Real>(x: &Tensor, norm: &Norm) -> Result<(Tensor, NormMoments)> {
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
        // Σ dy and Σ dy·x̂ per column; the columns are split, the rows of each are added in order.
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

/// `f64` values in the model's type.
pub(super) fn reals<T: Real>(values: &[f64]) -> Vec<T> {
    values.iter().map(|value| T::from_f64(*value)).collect()
}

/// A vector of the model's type from `f64` values.
pub(super) fn vector<T: Real>(values: &[f64]) -> Result<Tensor> {
    Tensor::from_vec(reals::<T>(values), values.len(), &Device::Cpu)
}

/// Softmax over the last dimension in plain operations, with a gradient.
pub(super) fn softmax_plain(x: &Tensor) -> Result<Tensor> {
    let top = x.detach().max_keepdim(D::Minus1)?;
    let powers = x.broadcast_sub(&top)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}
