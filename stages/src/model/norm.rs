//! Batch normalisation of [B, C] matrices.
//!
//! Law: training normalises with the batch's mean and biased variance, and returns them. Evaluation uses the running
//! ones.

use candle_core::{Result, Tensor};

use crate::kernels::backend::Backend;
use crate::kernels::cpu::batch_norm::{self, Norm};
use crate::kernels::cuda;
use crate::kernels::moments::NormMoments;

/// Normalises `x` [B, C] with its own moments. Returns the result and these moments.
pub(super) fn train(x: &Tensor, norm: &Norm, backend: Backend) -> Result<(Tensor, NormMoments)> {
    match backend {
        Backend::FusedCpu => batch_norm::train(x, norm),
        Backend::FusedCuda => cuda::batch_norm::train(x, norm),
        Backend::Plain => train_plain(x, norm),
    }
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

/// Normalises `x` [B, C] with running moments. If `x` has no tape, the result has no tape either.
pub(super) fn eval(x: &Tensor, norm: &Norm, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
    let scale = norm.weight.div(&(variance + norm.epsilon)?.sqrt()?)?;
    let shift = norm.bias.sub(&mean.mul(&scale)?)?;
    x.broadcast_mul(&scale)?.broadcast_add(&shift)
}
