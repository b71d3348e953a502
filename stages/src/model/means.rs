//! What the video-level models share: their input, their products, their checks.
//!
//! The one law: the input is one row a video and has no gradient, so none is computed for it.

use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::gradients::deposit;
use super::node::attach;
use super::{BatchMoments, DeviceBatch, Init, LossForm, Model, TrainForward, Weights, loss as cross_entropy};

/// The least squared length that [`InputNorm::L2`] divides by, as `tf.nn.l2_normalize` has it.
const LEAST_SQUARE: f64 = 1e-12;

/// What is done to a video's joined features before the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Refuses weights of another shape than the model's, so that what follows may index them.
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

/// `x Wᵀ` for an input `x` [B, in] without tape and `weight` [out, in].
///
/// candle would compute the gradient of `x` too, as large a product again; fused, only the weight's is made. CPU only.
pub(super) fn linear(x: &Tensor, weight: &Tensor, fused: bool) -> Result<Tensor> {
    if !fused || !weight.is_variable() {
        return x.matmul(&weight.t()?);
    }
    let (input, target) = (x.clone(), weight.clone());
    let y = x.matmul(&weight.detach().t()?)?;
    let backward = move |_: &Tensor, dy: &Tensor| {
        deposit(&target, dy.t()?.matmul(&input)?)?;
        Ok(vec![None])
    };
    attach("linear", y, &[weight], Box::new(backward))
}

/// The training pass: what `logits` makes of the parameters, with their tape. There is no batch norm, so no moments.
pub(super) fn train(
    weights: &Weights,
    logits: impl FnOnce(&[Tensor]) -> Result<Tensor>,
) -> Result<TrainForward> {
    let parameters: Vec<Tensor> = weights.parameters.iter().map(|var| var.as_tensor().clone()).collect();
    Ok(TrainForward { logits: logits(&parameters)?, moments: BatchMoments { layers: Vec::new() } })
}

/// The evaluation pass: the same of detached parameters, so that no operation records a tape.
pub(super) fn eval(weights: &Weights, logits: impl FnOnce(&[Tensor]) -> Result<Tensor>) -> Result<Tensor> {
    let parameters: Vec<Tensor> = weights.parameters.iter().map(|var| var.as_detached_tensor()).collect();
    logits(&parameters)
}

/// The loss of each video `[B]`, from logits.
pub(super) fn loss(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    cross_entropy::loss(logits, labels, LossForm::Logits, logits.device().is_cpu())
}

/// Glorot and Bengio's variance for a matrix [out, in], that of slim's default; drawn from a normal distribution here,
/// from a uniform one there.
pub(super) fn glorot(outputs: usize, inputs: usize) -> Init {
    Init::Normal { variance: 2.0 / (inputs + outputs) as f64 }
}

/// Every size that no model can have, one sentence each.
pub(super) fn check_sizes(sizes: &[(&str, usize)]) -> Vec<String> {
    sizes.iter().filter(|(_, size)| *size == 0).map(|(key, _)| format!("{key} must be at least 1")).collect()
}
