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
use crate::kernels::cuda;
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
        Backend::FusedCuda => cuda::cluster::fold_for_evaluation(branch, precision, fold),
        Backend::Plain => Ok(None),
    }
}

/// The frames of a modality, N rows of F features, in the form that a backend takes.
pub(super) enum Rows {
    /// For the CPU's kernels, and as features for plain operations.
    Host(Frames),
    /// For the kernels of GPUs.
    Card(cuda::codes::Frames),
}

impl Rows {
    /// N, the number of frames.
    pub(super) fn count(&self) -> Result<usize> {
        match self {
            Self::Host(frames) => Ok(frames.dims()?.0),
            Self::Card(frames) => Ok(frames.dims()?.0),
        }
    }

    /// The features [N, F], of frames that are given by them.
    pub(super) fn features(&self) -> Option<&Tensor> {
        match self {
            Self::Host(Frames::Features(x)) | Self::Card(cuda::codes::Frames::Features(x)) => Some(x),
            Self::Host(Frames::Codes(_)) | Self::Card(cuda::codes::Frames::Codes(_)) => None,
        }
    }
}

/// The residuals V [B, K, D] of the videos whose frames are the rows of `x` [N, F]. In training, also the moments of
/// the assignment. Plain operations take features alone.
pub(super) fn cluster(
    branch: &Branch,
    x: Rows,
    lengths: &[usize],
    statistics: &Statistics,
    backend: Backend,
    fold: Fold,
) -> Result<(Tensor, Option<NormMoments>)> {
    match *statistics {
        Statistics::Batch { padded_rows } => {
            let (v, moments) = match (x, backend) {
                (Rows::Card(x), Backend::FusedCuda) => {
                    cuda::cluster::train(branch, x, lengths, padded_rows, fold)?
                }
                (Rows::Host(x), Backend::FusedCpu) => {
                    fused::cluster::train(branch, x, lengths, padded_rows, fold)?
                }
                (x, _) => plain::train(branch, only_features(&x)?, lengths, padded_rows)?,
            };
            Ok((v, Some(moments)))
        }
        Statistics::Running { mean, variance, folded } => {
            let v = match (x, backend) {
                (Rows::Card(x), Backend::FusedCuda) => {
                    cuda::cluster::eval(branch, x, lengths, (mean, variance), folded)?
                }
                (Rows::Host(x), Backend::FusedCpu) => {
                    fused::cluster::eval(branch, x, lengths, (mean, variance), folded)?
                }
                (x, _) => plain::eval(branch, only_features(&x)?, lengths, mean, variance)?,
            };
            Ok((v, None))
        }
    }
}

/// The features of frames that are given by them.
fn only_features(rows: &Rows) -> Result<&Tensor> {
    match rows.features() {
        Some(x) => Ok(x),
        None => candle_core::bail!("products of bf16 operands need the kernels of the CPU or of a GPU"),
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
        Backend::FusedCuda if dtype != DType::F32 => {
            candle_core::bail!("the kernels of the GPU compute in F32, and the weights are {dtype:?}")
        }
        Backend::FusedCuda => cuda::codes::features(bytes, &cuda::codes::Quantisation::new(offset, scale)?),
        Backend::Plain => plain::dequantize(bytes, offset, scale, dtype),
    }
}

/// The descriptor U [B, D·K] of the residuals `v` [B, K, D]. Every cluster has length one, and the value of (d, k) is
/// element d·K + k.
pub(super) fn normalize(v: &Tensor, form: L2Norm, backend: Backend) -> Result<Tensor> {
    match backend {
        Backend::FusedCpu => fused::normalize::normalize(v, form),
        Backend::FusedCuda => cuda::normalize::normalize(v, form),
        Backend::Plain => plain::normalize(v, form),
    }
}
