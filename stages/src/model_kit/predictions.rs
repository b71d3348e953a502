//! The loss of each video of a pass, and its predictions.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::payload::{Batch, ForwardPass, ForwardShard, Predictions};

/// The loss of each video of a shard, [videos], on the shard's device.
pub(crate) fn video_losses(shard: &ForwardShard) -> candle_core::Result<Tensor> {
    let (_, classes) = shard.logits.dims2()?;
    let labels =
        dense_labels(&shard.batch, classes, shard.logits.device())?.to_dtype(shard.logits.dtype())?;
    shard.weights.model.loss(&shard.logits, &labels)
}

/// The labels as {0, 1}, f32 [videos, classes]. A label at or above `classes` is left out here; decoding refuses such
/// labels.
pub(crate) fn dense_labels(batch: &Batch, classes: usize, device: &Device) -> candle_core::Result<Tensor> {
    let mut dense = vec![0f32; batch.videos() * classes];
    for (row, labels) in dense.chunks_exact_mut(classes.max(1)).zip(&batch.labels) {
        for label in labels {
            if let Some(cell) = row.get_mut(*label as usize) {
                *cell = 1.0;
            }
        }
    }
    Tensor::from_vec(dense, (batch.videos(), classes), device)
}

/// The predictions of a pass, in shard order, in host memory and without a tape.
///
/// For each shard, `losses` holds the loss of each video, [videos].
pub(crate) fn predictions(pass: &ForwardPass, losses: &[Tensor]) -> candle_core::Result<Predictions> {
    let videos: usize = pass.shards.iter().map(|s| s.batch.videos()).sum();
    let mut ids = Vec::with_capacity(videos);
    let mut labels = Vec::with_capacity(videos);
    let mut scores = Vec::new();
    let mut host_losses = Vec::with_capacity(videos);
    let mut classes = 0;
    for (shard, losses) in pass.shards.iter().zip(losses) {
        ids.extend_from_slice(&shard.batch.ids);
        labels.extend_from_slice(&shard.batch.labels);
        classes = shard.logits.dim(1)?;
        let probabilities = candle_nn::ops::sigmoid(&shard.logits.detach())?.to_dtype(DType::F32)?;
        scores.extend(probabilities.flatten_all()?.to_vec1::<f32>()?);
        host_losses.extend(losses.detach().to_dtype(DType::F32)?.to_vec1::<f32>()?);
    }
    Ok(Predictions {
        step: pass.step,
        epoch: pass.epoch,
        classes,
        ids: Arc::new(ids),
        labels: Arc::new(labels),
        scores: Arc::new(scores),
        losses: Arc::new(host_losses),
    })
}
