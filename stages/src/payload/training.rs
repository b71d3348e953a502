//! What travels around the training loop: forward passes, losses, gradients, updates, versions of the weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use framewise_pipeline::Payload;

use crate::model::{BatchMoments, Gradients, Weights};
use crate::optim::Moments;
use crate::payload::{Batch, EpochProgress};
use crate::resume::Measured;

/// One version of the weights. Immutable; the optimiser makes the next one.
#[derive(Debug, Clone)]
pub struct WeightsVersion {
    /// Updates that led to it: 0 for fresh weights.
    pub version: u64,
    /// The weights, on the optimiser's device.
    pub weights: Arc<Weights>,
}

/// A shard's part of a forward pass.
#[derive(Debug, Clone)]
pub struct ForwardShard {
    /// Which entry of `devices` computed it.
    pub device: usize,
    /// The videos.
    pub batch: Arc<Batch>,
    /// The weights used, on the shard's device. Whoever holds the tape holds these, so that no buffer of a live
    /// tape is ever written again.
    pub weights: Arc<Weights>,
    /// Logits [videos, classes]; with their tape when training.
    pub logits: Tensor,
    /// Batch moments for the running statistics; `None` in evaluation.
    pub moments: Option<Arc<BatchMoments>>,
}

/// The forward pass of a step.
#[derive(Debug, Clone)]
pub struct ForwardPass {
    /// [`crate::payload::Step::index`].
    pub step: u64,
    /// The epoch.
    pub epoch: u64,
    /// How much of the epoch is used up.
    pub progress: EpochProgress,
    /// One entry per shard, in order.
    pub shards: Vec<ForwardShard>,
}

impl Payload for ForwardPass {
    const NAME: &'static str = "passes";

    /// Batches and logits; what the tape keeps alive is not counted.
    fn byte_len(&self) -> usize {
        self.shards.iter().map(|s| s.batch.byte_len() + bytes_of([&s.logits])).sum()
    }
}

/// The loss of a step.
#[derive(Debug, Clone)]
pub struct LossPass {
    /// The step.
    pub step: u64,
    /// The epoch.
    pub epoch: u64,
    /// How much of the epoch is used up.
    pub progress: EpochProgress,
    /// One entry per shard, in order.
    pub shards: Vec<LossShard>,
}

/// A shard's loss.
#[derive(Debug, Clone)]
pub struct LossShard {
    /// Which entry of `devices` computed it.
    pub device: usize,
    /// Mean over the shard's videos, a scalar with its tape.
    pub loss: Tensor,
    /// Videos in the shard.
    pub videos: usize,
    /// The weights of the tape.
    pub weights: Arc<Weights>,
    /// Batch moments.
    pub moments: Option<Arc<BatchMoments>>,
    /// The videos themselves, by which an error names them.
    pub batch: Arc<Batch>,
}

impl Payload for LossPass {
    const NAME: &'static str = "losses";

    /// The batches; what the tape keeps alive is not counted.
    fn byte_len(&self) -> usize {
        self.shards.iter().map(|s| s.batch.byte_len()).sum()
    }
}

/// The gradients of a step, one set per shard.
#[derive(Debug, Clone)]
pub struct ShardGradients {
    /// The step.
    pub step: u64,
    /// The epoch.
    pub epoch: u64,
    /// How much of the epoch is used up.
    pub progress: EpochProgress,
    /// One entry per shard, in order.
    pub shards: Vec<GradientShard>,
}

/// A shard's gradients.
#[derive(Debug, Clone)]
pub struct GradientShard {
    /// Gradient of the shard's mean loss, on the shard's device.
    pub gradients: Arc<Gradients>,
    /// Videos in the shard: its weight in the mean.
    pub videos: usize,
    /// Batch moments.
    pub moments: Option<Arc<BatchMoments>>,
    /// The videos.
    pub batch: Arc<Batch>,
    /// Their mean loss, a scalar without its tape.
    pub loss: Tensor,
}

impl Payload for ShardGradients {
    const NAME: &'static str = "shard_gradients";

    fn byte_len(&self) -> usize {
        self.shards.iter().map(|s| s.batch.byte_len() + bytes_of(&s.gradients.tensors)).sum()
    }
}

/// What the optimiser applies: the mean gradient of a step and the moments of its shards.
#[derive(Debug, Clone)]
pub struct Update {
    /// The step.
    pub step: u64,
    /// The epoch.
    pub epoch: u64,
    /// How much of the epoch is used up.
    pub progress: EpochProgress,
    /// Example-weighted mean over the shards.
    pub gradients: Arc<Gradients>,
    /// Batch moments of every shard, in order.
    pub moments: Vec<Arc<BatchMoments>>,
    /// Videos of the step.
    pub videos: usize,
    /// They themselves, by shard.
    pub batches: Vec<Arc<Batch>>,
    /// The mean loss of each shard, scalars without tape.
    pub losses: Vec<Tensor>,
}

impl Payload for Update {
    const NAME: &'static str = "gradients";

    fn byte_len(&self) -> usize {
        let batches: usize = self.batches.iter().map(|b| b.byte_len()).sum();
        batches + bytes_of(&self.gradients.tensors)
    }
}

impl Payload for WeightsVersion {
    const NAME: &'static str = "weights";

    fn byte_len(&self) -> usize {
        weights_bytes(&self.weights)
    }
}

/// Everything a training run is after a step: what a checkpoint stores and an evaluation runs on.
#[derive(Debug, Clone)]
pub struct TrainState {
    /// Steps done.
    pub step: u64,
    /// The epoch of the last step.
    pub epoch: u64,
    /// How much of the epoch is used up.
    pub progress: EpochProgress,
    /// Videos seen in training.
    pub samples: u64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// The weights after it.
    pub weights: Arc<Weights>,
    /// Adam's moments after it.
    pub moments: Arc<Moments>,
    /// What an evaluation of these weights measured, where one ran.
    pub metrics: Option<BTreeMap<String, f64>>,
    /// The last measurement up to here, of these weights or earlier ones, once the state has passed an `evaluate`.
    pub measured: Option<Arc<Measured>>,
    /// Not a new step: the state of the checkpoint that the run goes on from, which comes before the first step.
    pub restored: bool,
}

impl Payload for TrainState {
    const NAME: &'static str = "states";

    /// Weights and moments, also where another state or stage holds the same.
    fn byte_len(&self) -> usize {
        weights_bytes(&self.weights) + bytes_of(self.moments.first.iter().chain(&self.moments.second))
    }
}

fn bytes_of<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> usize {
    tensors.into_iter().map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum()
}

fn weights_bytes(weights: &Weights) -> usize {
    bytes_of(weights.parameters.iter().map(|p| p.as_tensor()).chain(&weights.buffers))
}
