//! One modality, from frames to descriptor.
//!
//! Law: only real frames enter sums. Where a preset counts padded rows, they enter the assignment's statistics in
//! training and nothing else.
//!
//! In the formulas, F is the input size, E the expanded width, G the number of groups, D = E / G, K the number of
//! clusters, and N the number of real frames of the batch:
//!
//! ```text
//! h   = x W_expandᵀ + b_expand                                 [N, E]
//! α   = sigmoid(h W_attᵀ + b_att)                              [N, G]
//! a   = softmax over K of BN(h W_assignᵀ) as [N, G, K], times α
//! V_k = Σ a_gk · h_g − (Σ a_gk) · C_k                          [K, D], sums over the video's frames and groups
//! U   = V_k / |V_k|, transposed                                [D·K], element d·K + k
//! ```
//!
//! A padded row is one whose features are zero after dequantisation, because the authors' reader dequantises first and
//! then pads. All padded rows are therefore alike: their assignment logits are `b_expand W_assignᵀ`. A count stands for
//! them, and the rows themselves are never made.

use candle_core::{DType, Result, Tensor};

use super::vlad_plain as plain;
use crate::kernels::backend::{Backend, Fold};
use crate::kernels::branch::Branch;
use crate::kernels::cpu::vlad as fused;
use crate::kernels::cpu::vlad::frames::Frames;
use crate::kernels::forms::L2Norm;
use crate::kernels::moments::NormMoments;
use crate::kernels::precision::Precision;

/// The statistics with which the assignment's batch norm normalises.
pub(super) enum Statistics<'a> {
    /// The batch's own moments, over the real frames and this many padded rows.
    Batch { padded_rows: usize },
    /// The running mean and variance, and [`fold`] of the weights.
    Running { mean: &'a Tensor, variance: &'a Tensor, folded: Option<&'a Tensor> },
}

/// What an evaluation works out of the weights of a branch before it sees a frame.
pub(super) fn fold(
    branch: &Branch,
    precision: Precision,
    backend: Backend,
    fold: Fold,
) -> Result<Option<Tensor>> {
    match backend {
        Backend::FusedCpu => fused::cluster::fold_for_evaluation(branch, precision, fold),
        Backend::Plain => Ok(None),
    }
}

/// The residuals V [B, K, D] of the videos whose frames are the rows of `x` [N, F]. In training, also the moments of
/// the assignment. Plain operations take features alone.
pub(super) fn cluster(
    branch: &Branch,
    x: Frames,
    lengths: &[usize],
    statistics: &Statistics,
    backend: Backend,
    fold: Fold,
) -> Result<(Tensor, Option<NormMoments>)> {
    match *statistics {
        Statistics::Batch { padded_rows } => {
            let (v, moments) = match backend {
                Backend::FusedCpu => fused::cluster::train(branch, x, lengths, padded_rows, fold)?,
                Backend::Plain => plain::train(branch, features(&x)?, lengths, padded_rows)?,
            };
            Ok((v, Some(moments)))
        }
        Statistics::Running { mean, variance, folded } => {
            let v = match backend {
                Backend::FusedCpu => fused::cluster::eval(branch, x, lengths, (mean, variance), folded)?,
                Backend::Plain => plain::eval(branch, features(&x)?, lengths, mean, variance)?,
            };
            Ok((v, None))
        }
    }
}

/// The features of frames that are given by them.
fn features(frames: &Frames) -> Result<&Tensor> {
    match frames {
        Frames::Features(x) => Ok(x),
        Frames::Codes(_) => candle_core::bail!("products of bf16 operands need the kernels of the CPU"),
    }
}

/// The features [N, F] of byte rows [N, F]: `q · 4/255 − 2 + offset`, times `scale` [F] if there is one.
pub(super) fn dequantize(
    bytes: &Tensor,
    offset: f64,
    scale: Option<&Tensor>,
    dtype: DType,
    backend: Backend,
) -> Result<Tensor> {
    match backend {
        Backend::FusedCpu => fused::dequantize::dequantize(bytes, offset, scale, dtype),
        Backend::Plain => plain::dequantize(bytes, offset, scale, dtype),
    }
}

/// The descriptor U [B, D·K] of the residuals `v` [B, K, D]. Every cluster has length one, and the value of (d, k) is
/// element d·K + k.
pub(super) fn normalize(v: &Tensor, form: L2Norm, backend: Backend) -> Result<Tensor> {
    match backend {
        Backend::FusedCpu => fused::normalize::normalize(v, form),
        Backend::Plain => plain::normalize(v, form),
    }
}
