//! A modality in plain tensor operations, which run on any device and use candle's own gradients. The tests compare the
//! kernels with the numbers of this module.

use candle_core::{D, DType, Result, Tensor};

use crate::kernels::branch::Branch;
use crate::kernels::forms::{L2_EPSILON, L2Norm};
use crate::kernels::moments::NormMoments;

/// The residuals V [B, K, D] with their tape, and the assignment's moments over the real frames and `padded_rows`.
pub(super) fn train(
    branch: &Branch,
    x: &Tensor,
    lengths: &[usize],
    padded_rows: usize,
) -> Result<(Tensor, NormMoments)> {
    let activations = Activations::of(branch, x)?;
    let (mean, variance) = moments(branch, &activations.s, padded_rows)?;
    let rows = x.dim(0)? + padded_rows;
    let kept = NormMoments { mean: mean.detach(), variance: variance.detach(), rows };
    Ok((activations.residuals(branch, lengths, &mean, &variance)?, kept))
}

/// The residuals V [B, K, D] under running statistics.
pub(super) fn eval(
    branch: &Branch,
    x: &Tensor,
    lengths: &[usize],
    mean: &Tensor,
    variance: &Tensor,
) -> Result<Tensor> {
    Activations::of(branch, x)?.residuals(branch, lengths, mean, variance)
}

/// The values that a branch computes from its frames before the batch norm.
struct Activations {
    /// Expanded frames h [N, E].
    h: Tensor,
    /// Attention α [N, G].
    attention: Tensor,
    /// Assignment logits [N, G·K].
    s: Tensor,
}

impl Activations {
    fn of(branch: &Branch, x: &Tensor) -> Result<Self> {
        let h = x.matmul(&branch.expand_weight.t()?)?.broadcast_add(&branch.expand_bias)?;
        let attention = h.matmul(&branch.attention_weight.t()?)?.broadcast_add(&branch.attention_bias)?;
        let attention = candle_nn::ops::sigmoid(&attention)?;
        let s = h.matmul(&branch.assign_weight.t()?)?;
        Ok(Self { h, attention, s })
    }

    /// The residuals V [B, K, D], where the assignment logits are normalised with `mean` and `variance` [G·K].
    fn residuals(
        &self,
        branch: &Branch,
        lengths: &[usize],
        mean: &Tensor,
        variance: &Tensor,
    ) -> Result<Tensor> {
        let s = self.s.broadcast_sub(mean)?.broadcast_div(&(variance + branch.epsilon)?.sqrt()?)?;
        let s = s.broadcast_mul(&branch.norm_weight)?.broadcast_add(&branch.norm_bias)?;
        let s = s.reshape((s.dim(0)?, branch.groups, branch.clusters))?;
        let a = softmax(&s)?.broadcast_mul(&self.attention.unsqueeze(2)?)?;
        pool(branch, &a, &self.h, lengths)
    }
}

/// The mean and the biased variance of the assignment logits, padded rows included.
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

/// The residuals V [B, K, D] of a [N, G, K] and h [N, G·D]. Both are gathered into a padded layout, in which an absent
/// frame has an assignment of zero, and are multiplied video by video in one batched product.
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

/// For each row of a padded layout [B · longest], the packed row that it holds, for gathers. Absent rows point to
/// packed row 0.
fn padded_rows(lengths: &[usize]) -> (Vec<u32>, Vec<bool>, usize) {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let (mut rows, mut real) = (Vec::new(), Vec::new());
    let mut start = 0;
    for length in lengths {
        rows.extend((0..longest).map(|frame| if frame < *length { (start + frame) as u32 } else { 0 }));
        real.extend((0..longest).map(|frame| frame < *length));
        start += length;
    }
    (rows, real, longest)
}

/// The features [N, F] of byte rows [N, F].
pub(super) fn dequantize(
    bytes: &Tensor,
    offset: f64,
    scale: Option<&Tensor>,
    dtype: DType,
) -> Result<Tensor> {
    let x = bytes.to_dtype(dtype)?.affine(4.0 / 255.0, offset - 2.0)?;
    match scale {
        Some(scale) => x.broadcast_mul(scale),
        None => Ok(x),
    }
}

/// `V` [B, K, D] with every cluster at length one, transposed: U [B, D·K].
pub(super) fn normalize(v: &Tensor, form: L2Norm) -> Result<Tensor> {
    let (videos, clusters, width) = v.dims3()?;
    let square = v.sqr()?.sum_keepdim(2)?;
    let length = match form {
        L2Norm::SqrtSumPlusEpsilon => (square + L2_EPSILON)?.sqrt()?,
        L2Norm::SqrtMaxEpsilon => square.maximum(&square.full_like_detached(L2_EPSILON)?)?.sqrt()?,
    };
    v.broadcast_div(&length)?.transpose(1, 2)?.reshape((videos, width * clusters))
}

trait FullLike {
    fn full_like_detached(&self, value: f64) -> Result<Tensor>;
}

impl FullLike for Tensor {
    fn full_like_detached(&self, value: f64) -> Result<Tensor> {
        Tensor::full(value, self.shape(), self.device())?.to_dtype(self.dtype())
    }
}

/// The softmax over the last dimension in plain operations, which have a gradient.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let top = x.detach().max_keepdim(D::Minus1)?;
    let powers = x.broadcast_sub(&top)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}
