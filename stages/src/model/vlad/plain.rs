//! A modality in plain tensor operations: any device, candle's own gradients. It is also what the kernels are tested against.

use candle_core::{Result, Tensor};

use super::{Branch, Statistics, padded_rows};
use crate::model::NormMoments;
use crate::model::norm::softmax_plain;

pub(super) fn cluster(
    branch: &Branch,
    x: &Tensor,
    lengths: &[usize],
    statistics: &Statistics,
) -> Result<(Tensor, Option<NormMoments>)> {
    let (frames, _) = x.dims2()?;
    let (groups, clusters) = (branch.groups, branch.clusters);
    let h = x.matmul(&branch.expand_weight.t()?)?.broadcast_add(&branch.expand_bias)?;
    let attention = h.matmul(&branch.attention_weight.t()?)?.broadcast_add(&branch.attention_bias)?;
    let attention = candle_nn::ops::sigmoid(&attention)?;
    let s = h.matmul(&branch.assign_weight.t()?)?;
    let (mean, variance, moments) = match statistics {
        Statistics::Running { mean, variance } => ((*mean).clone(), (*variance).clone(), None),
        Statistics::Batch { padded_rows } => {
            let (mean, variance) = moments(branch, &s, *padded_rows)?;
            let kept =
                NormMoments { mean: mean.detach(), variance: variance.detach(), rows: frames + padded_rows };
            (mean, variance, Some(kept))
        }
    };
    let s = s.broadcast_sub(&mean)?.broadcast_div(&(variance + branch.epsilon)?.sqrt()?)?;
    let s = s.broadcast_mul(&branch.norm_weight)?.broadcast_add(&branch.norm_bias)?;
    let a =
        softmax_plain(&s.reshape((frames, groups, clusters))?)?.broadcast_mul(&attention.unsqueeze(2)?)?;
    Ok((pool(branch, &a, &h, lengths)?, moments))
}

/// Mean and biased variance of the assignment logits, padded rows included.
fn moments(branch: &Branch, s: &Tensor, padded_rows: usize) -> Result<(Tensor, Tensor)> {
    let (frames, width) = s.dims2()?;
    if padded_rows == 0 {
        let mean = s.mean_keepdim(0)?;
        let variance = s.broadcast_sub(&mean)?.sqr()?.mean(0)?;
        return Ok((mean.squeeze(0)?, variance));
    }
    let (padded, rows) = (padded_rows as f64, (frames + padded_rows) as f64);
    let bias = branch.expand_bias.unsqueeze(0)?;
    let padding = bias.matmul(&branch.assign_weight.t()?)?.reshape(width)?;
    let mean = ((s.sum(0)? + padding.affine(padded, 0.0)?)? / rows)?;
    let real_squares = s.broadcast_sub(&mean)?.sqr()?.sum(0)?;
    let padded_squares = padding.sub(&mean)?.sqr()?.affine(padded, 0.0)?;
    let variance = ((real_squares + padded_squares)? / rows)?;
    Ok((mean, variance))
}

/// V [B, K, D] of a [N, G, K] and h [N, G·D]: both are gathered into a padded layout, in which an absent frame has an
/// assignment of zero, and multiplied video by video in one batched product.
fn pool(branch: &Branch, a: &Tensor, h: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let (groups, clusters, width) = (branch.groups, branch.clusters, branch.width()?);
    let (rows, real, longest) = padded_rows(lengths);
    let videos = lengths.len();
    let real: Vec<f32> = real.into_iter().map(|real| if real { 1.0 } else { 0.0 }).collect();
    let real = Tensor::from_vec(real, (videos * longest, 1, 1), a.device())?.to_dtype(a.dtype())?;
    let rows = Tensor::from_vec(rows, videos * longest, a.device())?;
    let a = a.index_select(&rows, 0)?.broadcast_mul(&real)?.reshape((videos, longest * groups, clusters))?;
    let h = h.index_select(&rows, 0)?.reshape((videos, longest * groups, width))?;
    let v = a.transpose(1, 2)?.contiguous()?.matmul(&h)?;
    let mass = a.sum(1)?.unsqueeze(2)?;
    v - mass.broadcast_mul(&branch.centers.unsqueeze(0)?)?
}
