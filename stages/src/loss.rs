//! `loss`: the sigmoid cross-entropy of a step, and the predictions it was computed from.
//!
//! Law: what leaves on `predictions` holds no tape, so that a slow consumer keeps no activations alive.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use framewise_pipeline::{
    Component, Failure, Input, InputPort, KeySpec, Output, OutputPort, Packet, PayloadType, Ports, Settings,
    Stage, StageContext, StageError, Wiring,
};

use crate::forward::compute_failure;
use crate::payload::{Batch, ForwardPass, ForwardShard, LossPass, LossShard, Predictions};

/// The stage type.
pub(crate) struct Loss;

struct Computing {
    input: Input<ForwardPass>,
    losses: Output<LossPass>,
    predictions: Output<Predictions>,
}

impl Component for Loss {
    fn type_name(&self) -> &'static str {
        "loss"
    }

    fn doc(&self) -> &'static str {
        "Computes the loss of each shard (mean over its videos of the sigmoid cross-entropy, summed over classes) with its \
         tape, and, where something listens, the step's predictions without it."
    }

    fn keys(&self) -> Vec<KeySpec> {
        Vec::new()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports {
            inputs: vec![InputPort::new::<ForwardPass>("passes", PayloadType::of::<ForwardPass>())],
            outputs: vec![
                OutputPort::new::<LossPass>("losses", PayloadType::of::<LossPass>(), 1),
                OutputPort::new::<Predictions>("predictions", PayloadType::of::<Predictions>(), 4),
            ],
        }
    }

    fn build(
        &self,
        _settings: &Settings,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        Ok(Box::new(Computing {
            input: wiring.input("passes")?,
            losses: wiring.output("losses")?,
            predictions: wiring.output("predictions")?,
        }))
    }
}

impl Stage for Computing {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        loop {
            match self.input.recv()? {
                Packet::Item(pass) => {
                    let what = format!("loss of step {}", pass.step);
                    let (losses, predictions) = self.step(pass).map_err(|e| compute_failure(&what, &e))?;
                    if let Some(predictions) = predictions {
                        self.predictions.send(predictions)?;
                    }
                    self.losses.send(losses)?;
                }
                Packet::Mark(mark) => {
                    self.predictions.mark(mark)?;
                    self.losses.mark(mark)?;
                }
                Packet::End => return Ok(()),
            }
        }
    }
}

impl Computing {
    fn step(&self, pass: ForwardPass) -> candle_core::Result<(LossPass, Option<Predictions>)> {
        let mut shards = Vec::with_capacity(pass.shards.len());
        let mut per_video = Vec::with_capacity(pass.shards.len());
        for shard in &pass.shards {
            let losses = video_losses(shard)?;
            shards.push(LossShard {
                device: shard.device,
                loss: losses.mean_all()?,
                videos: shard.batch.videos(),
                batch: shard.batch.clone(),
                weights: shard.weights.clone(),
                moments: shard.moments.clone(),
            });
            per_video.push(losses);
        }
        let predictions =
            if self.predictions.is_connected() { Some(predictions(&pass, &per_video)?) } else { None };
        let losses = LossPass { step: pass.step, epoch: pass.epoch, progress: pass.progress, shards };
        Ok((losses, predictions))
    }
}

/// The loss of each video of a shard, [videos], on the shard's device.
pub(crate) fn video_losses(shard: &ForwardShard) -> candle_core::Result<Tensor> {
    let (_, classes) = shard.logits.dims2()?;
    let labels =
        dense_labels(&shard.batch, classes, shard.logits.device())?.to_dtype(shard.logits.dtype())?;
    shard.weights.model.loss(&shard.logits, &labels)
}

/// Labels as {0, 1}, f32 [videos, classes]. A label at or above `classes` counts for nothing: decoding refused it.
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

/// The predictions of a pass, in shard order, on the host and without tape.
///
/// `losses` holds the loss of each video [videos] per shard.
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
