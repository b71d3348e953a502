//! One modality: frames to descriptor. The one law: only real frames enter sums; padded rows, where a preset counts
//! them, enter the assignment's training statistics and nothing else.
//!
//! With F = input size, E = expanded width, G = groups, D = E / G, K = clusters and N = real frames of the batch:
//!
//! ```text
//! h   = x W_expandᵀ + b_expand                                 [N, E]
//! α   = sigmoid(h W_attᵀ + b_att)                              [N, G]
//! a   = softmax over K of BN(h W_assignᵀ) as [N, G, K], times α
//! V_k = Σ a_gk · h_g − (Σ a_gk) · C_k                          [K, D], sums over the video's frames and groups
//! U   = V_k / |V_k|, transposed                                [D·K], element d·K + k
//! ```
//!
//! A padded row is one whose features are zero after dequantisation (the authors' reader dequantises, then pads). So
//! all padded rows are alike: their assignment logits are `b_expand W_assignᵀ`, and a count stands for materialising them.

mod assign;
mod fused;
mod normalize;
mod plain;
mod pool;

use candle_core::{DType, Result, Tensor};

use super::{L2Norm, NormMoments};

pub(super) use normalize::normalize;

/// Parameters of one modality, with their tape in training and without in evaluation.
pub(super) struct Branch {
    pub(super) expand_weight: Tensor,
    pub(super) expand_bias: Tensor,
    pub(super) attention_weight: Tensor,
    pub(super) attention_bias: Tensor,
    pub(super) assign_weight: Tensor,
    pub(super) norm_weight: Tensor,
    pub(super) norm_bias: Tensor,
    pub(super) centers: Tensor,
    pub(super) groups: usize,
    pub(super) clusters: usize,
    pub(super) epsilon: f64,
}

impl Branch {
    /// E, the expanded width.
    fn expanded(&self) -> Result<usize> {
        self.expand_weight.dim(0)
    }

    /// D, the width of a center.
    fn width(&self) -> Result<usize> {
        self.centers.dim(1)
    }
}

/// What the assignment's batch norm normalises with.
pub(super) enum Statistics<'a> {
    /// The batch's own moments, over the real frames and this many padded rows.
    Batch { padded_rows: usize },
    /// Running mean and variance.
    Running { mean: &'a Tensor, variance: &'a Tensor },
}

/// Which implementation computes a modality.
#[derive(Clone, Copy)]
pub(super) enum Path {
    /// Tensor operations.
    Plain,
    /// CPU kernels; `fold` is chosen by size where it is `None`.
    Fused { fold: Option<bool> },
}

/// Residuals V [B, K, D] of the videos whose frames are the rows of `x` [N, F], and the assignment's moments in training.
pub(super) fn cluster(
    branch: &Branch,
    x: &Tensor,
    lengths: &[usize],
    statistics: &Statistics,
    path: Path,
) -> Result<(Tensor, Option<NormMoments>)> {
    let Path::Fused { fold } = path else {
        return plain::cluster(branch, x, lengths, statistics);
    };
    let fold = fold.map_or_else(|| fused::folds(branch, x), Ok)?;
    match statistics {
        Statistics::Batch { padded_rows } => {
            let (v, moments) = fused::train(branch, x, lengths, *padded_rows, fold)?;
            Ok((v, Some(moments)))
        }
        Statistics::Running { mean, variance } => {
            Ok((fused::eval(branch, x, lengths, mean, variance, fold)?, None))
        }
    }
}

/// Features [N, F] of byte rows [N, F]: `q · 4/255 − 2 + offset`, times `scale` [F] if there is one.
pub(super) fn dequantize(
    bytes: &Tensor,
    offset: f64,
    scale: Option<&Tensor>,
    dtype: DType,
    fused: bool,
) -> Result<Tensor> {
    if fused {
        return fused::dequantize(bytes, offset, scale, dtype);
    }
    let x = bytes.to_dtype(dtype)?.affine(4.0 / 255.0, offset - 2.0)?;
    match scale {
        Some(scale) => x.broadcast_mul(scale),
        None => Ok(x),
    }
}

/// Which rows of a padded layout [B · longest] hold which packed row, for gathers; absent rows point at packed row 0.
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

/// 1e-12, which keeps the length of an empty cluster from zero.
const L2_EPSILON: f64 = 1e-12;

/// `V` [B, K, D] with every cluster at length one, transposed: U [B, D·K].
fn normalize_plain(v: &Tensor, form: L2Norm) -> Result<Tensor> {
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
