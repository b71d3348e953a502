//! What the video-level models share: their input, their products, and their checks.
//!
//! The input has one row for each video. It needs no gradient, so none is computed for it.

use candle_core::{DType, Result, Tensor};
use framewise_pipeline::KeyWord;
use serde::{Deserialize, Serialize};

use super::batch::DeviceBatch;
use super::definition::{BatchMoments, Init, Model, TrainForward, Weights};
use super::loss as cross_entropy;
use crate::kernels::backend::Backend;
use crate::kernels::cpu::linear::linear_of_data;
use crate::kernels::cpu::matmul::matmul_by_rows;
use crate::kernels::forms::LossForm;
use crate::kernels::precision::Precision;

/// The least squared length by which [`InputNorm::L2`] divides, as in `tf.nn.l2_normalize`.
const LEAST_SQUARE: f64 = 1e-12;

/// The normalisation of a video's joined features before the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, KeyWord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputNorm {
    /// `x / sqrt(max(Σ x², 1e-12))` over visual and audio features together, as YouTube-8M's starter code does.
    L2,
    /// Nothing.
    None,
}

/// The input [B, rgb_size + audio_size] of a batch of means, of type `dtype`.
pub(super) fn features(
    model: &dyn Model,
    batch: &DeviceBatch,
    norm: InputNorm,
    dtype: DType,
) -> Result<Tensor> {
    let videos = batch.videos();
    if videos == 0 {
        candle_core::bail!("a batch without videos");
    }
    for (name, rows, size) in
        [("mean_rgb", &batch.rgb, model.rgb_size()), ("mean_audio", &batch.audio, model.audio_size())]
    {
        if !rows.dtype().is_float() || rows.dims() != [videos, size] {
            candle_core::bail!(
                "the {name} rows of the batch are {:?} {:?}, expected floats [{videos}, {size}]",
                rows.dtype(),
                rows.dims()
            );
        }
    }
    let x = Tensor::cat(&[&batch.rgb.to_dtype(dtype)?, &batch.audio.to_dtype(dtype)?], 1)?.detach();
    match norm {
        InputNorm::None => Ok(x),
        InputNorm::L2 => x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.maximum(LEAST_SQUARE)?.sqrt()?),
    }
}

/// Refuses weights with other shapes than the model's, so that the code that follows may index them.
pub(super) fn check(model: &dyn Model, weights: &Weights) -> Result<()> {
    let own = model.parameters();
    if weights.parameters.len() != own.len() {
        candle_core::bail!("{} tensors of weights, the model has {}", weights.parameters.len(), own.len());
    }
    for (spec, given) in own.iter().zip(&weights.parameters) {
        if given.dims() != spec.shape {
            candle_core::bail!(
                "weights hold `{}` as {:?}, the model as {:?}",
                spec.name,
                given.dims(),
                spec.shape
            );
        }
    }
    Ok(())
}

/// `x Wᵀ` [B, out] for an input `x` [B, in] without a tape and `weight` [out, in]. `x` gets no gradient.
pub(super) fn linear(x: &Tensor, weight: &Tensor, backend: Backend) -> Result<Tensor> {
    match backend {
        Backend::FusedCpu if weight.is_variable() => linear_of_data(x, weight),
        Backend::FusedCpu => matmul_by_rows(x, &weight.t()?, Precision::F32),
        // The models on means have no kernels of a GPU.
        Backend::Plain | Backend::FusedCuda => x.matmul(&weight.t()?),
    }
}

/// The pass in training: `logits` of the parameters with their tape. There is no batch norm, so there are no moments.
pub(super) fn train(
    weights: &Weights,
    logits: impl FnOnce(&[Tensor]) -> Result<Tensor>,
) -> Result<TrainForward> {
    let parameters: Vec<Tensor> = weights.parameters.iter().map(|var| var.as_tensor().clone()).collect();
    Ok(TrainForward { logits: logits(&parameters)?, moments: BatchMoments { layers: Vec::new() } })
}

/// The pass in evaluation: `logits` of the detached parameters, so that no operation records a tape.
pub(super) fn eval(weights: &Weights, logits: impl FnOnce(&[Tensor]) -> Result<Tensor>) -> Result<Tensor> {
    let parameters: Vec<Tensor> = weights.parameters.iter().map(|var| var.as_detached_tensor()).collect();
    logits(&parameters)
}

/// The loss of each video `[B]`, from logits.
pub(super) fn loss(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    cross_entropy::loss(logits, labels, LossForm::Logits, Backend::of(logits.device()))
}

/// Glorot and Bengio's variance for a matrix [out, in], which is also that of slim's default. Here the values are drawn
/// from a normal distribution, and in slim from a uniform one.
pub(super) fn glorot(outputs: usize, inputs: usize) -> Init {
    Init::Normal { variance: 2.0 / (inputs + outputs) as f64 }
}

/// Every size that no model can have, one sentence each.
pub(super) fn check_sizes(sizes: &[(&str, usize)]) -> Vec<String> {
    sizes.iter().filter(|(_, size)| *size == 0).map(|(key, _)| format!("{key} must be at least 1")).collect()
}
