//! What travels around the training loop: forward passes, losses, gradients, updates and versions of the weights.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use framewise_pipeline::Payload;

use crate::collective::Sliced;
use crate::model::{BatchMoments, Gradients, Weights};
use crate::optim::DividedMoments;
use crate::payload::{Batch, EpochProgress, Handover, Lease, Measured, StepPart};

/// One version of the weights. A version never changes; the optimizer makes the next one.
#[derive(Debug, Clone)]
pub struct WeightsVersion {
    /// The number of updates that led to this version: 0 for fresh weights.
    pub version: u64,
    /// The weights, on the optimizer's first device.
    pub weights: Arc<Weights>,
    /// Copies of the weights, one in each memory besides that of the first device in which the optimizer keeps them.
    pub replicas: Vec<Arc<Weights>>,
}

impl WeightsVersion {
    /// The weights in the memory of `device`, if they lie there.
    pub fn on(&self, device: &Device) -> Option<&Arc<Weights>> {
        let is_there = |weights: &&Arc<Weights>| weights.device().is_none_or(|own| own.same_device(device));
        std::iter::once(&self.weights).chain(&self.replicas).find(is_there)
    }
}

/// A shard's part of a forward pass.
#[derive(Debug, Clone)]
pub struct ForwardShard {
    /// The index in `devices` of the device that computed the shard.
    pub device: usize,
    /// The shard's videos.
    pub batch: Arc<Batch>,
    /// The weights used, on the shard's device. Whoever holds the tape holds these weights too, so that no buffer of a
    /// live tape is ever written again.
    pub weights: Arc<Weights>,
    /// The logits [videos, classes]. In training they carry their tape.
    pub logits: Tensor,
    /// The shard's batch moments for the running statistics; `None` in evaluation.
    pub moments: Option<Arc<BatchMoments>>,
}

/// The forward pass of a step.
#[derive(Debug, Clone)]
pub struct ForwardPass {
    /// The step, as in [`crate::payload::Step::index`].
    pub step: u64,
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// How much of the epoch is used up after the step.
    pub progress: EpochProgress,
    /// One entry for each shard, in shard order.
    pub shards: Vec<ForwardShard>,
    /// As in [`crate::payload::Step::part`].
    pub part: Option<StepPart>,
}

impl Payload for ForwardPass {
    const NAME: &'static str = "passes";

    /// Counts the batches and the logits, but not what the tape keeps alive.
    fn byte_len(&self) -> usize {
        self.shards.iter().map(|s| s.batch.byte_len() + bytes_of([&s.logits])).sum()
    }

    fn step(&self) -> Option<u64> {
        Some(self.step + 1)
    }
}

/// The loss of a step.
#[derive(Debug, Clone)]
pub struct LossPass {
    /// The step, as in [`crate::payload::Step::index`].
    pub step: u64,
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// How much of the epoch is used up after the step.
    pub progress: EpochProgress,
    /// One entry for each shard, in shard order.
    pub shards: Vec<LossShard>,
    /// As in [`crate::payload::Step::part`].
    pub part: Option<StepPart>,
}

/// A shard's loss.
#[derive(Debug, Clone)]
pub struct LossShard {
    /// The index in `devices` of the device that computed the shard.
    pub device: usize,
    /// The mean loss of the shard's videos, a scalar with its tape.
    pub loss: Tensor,
    /// The number of videos in the shard.
    pub videos: usize,
    /// The weights that the tape was recorded with.
    pub weights: Arc<Weights>,
    /// The shard's batch moments for the running statistics; `None` in evaluation.
    pub moments: Option<Arc<BatchMoments>>,
    /// The shard's videos, so that an error can name them.
    pub batch: Arc<Batch>,
}

impl Payload for LossPass {
    const NAME: &'static str = "losses";

    /// Counts the batches, but not what the tape keeps alive.
    fn byte_len(&self) -> usize {
        self.shards.iter().map(|s| s.batch.byte_len()).sum()
    }

    fn step(&self) -> Option<u64> {
        Some(self.step + 1)
    }
}

/// The gradients of a step, with one set for each shard.
#[derive(Debug, Clone)]
pub struct ShardGradients {
    /// The step, as in [`crate::payload::Step::index`].
    pub step: u64,
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// How much of the epoch is used up after the step.
    pub progress: EpochProgress,
    /// One entry for each shard, in shard order.
    pub shards: Vec<GradientShard>,
    /// As in [`crate::payload::Step::part`].
    pub part: Option<StepPart>,
}

/// A shard's gradients.
#[derive(Debug, Clone)]
pub struct GradientShard {
    /// The gradients of the shard's mean loss, on the shard's device.
    pub gradients: Arc<Gradients>,
    /// The number of videos in the shard, which is the shard's weight in the mean.
    pub videos: usize,
    /// The shard's batch moments for the running statistics; `None` in evaluation.
    pub moments: Option<Arc<BatchMoments>>,
    /// The shard's videos.
    pub batch: Arc<Batch>,
    /// The mean loss of the shard's videos, a scalar without its tape.
    pub loss: Tensor,
}

impl Payload for ShardGradients {
    const NAME: &'static str = "shard_gradients";

    fn byte_len(&self) -> usize {
        self.shards.iter().map(|s| s.batch.byte_len() + bytes_of(&s.gradients.tensors)).sum()
    }

    fn step(&self) -> Option<u64> {
        Some(self.step + 1)
    }
}

/// What the optimizer applies: the mean gradient of a step and the moments of its shards.
#[derive(Debug, Clone)]
pub struct Update {
    /// The step, as in [`crate::payload::Step::index`].
    pub step: u64,
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// How much of the epoch is used up after the step.
    pub progress: EpochProgress,
    /// The mean gradients over the shards, weighted by the number of videos. Each device holds its slice.
    pub gradients: Arc<Sliced>,
    /// The batch moments of every shard, in shard order.
    pub moments: Vec<Arc<BatchMoments>>,
    /// The number of videos in the step.
    pub videos: usize,
    /// The videos of the step, by shard.
    pub batches: Vec<Arc<Batch>>,
    /// The mean loss of each shard, scalars without their tape.
    pub losses: Vec<Tensor>,
    /// As in [`crate::payload::Step::part`]. `batches` and `losses` are those of this rank, and all else is of all ranks.
    pub part: Option<StepPart>,
}

impl Payload for Update {
    const NAME: &'static str = "gradients";

    fn byte_len(&self) -> usize {
        let batches: usize = self.batches.iter().map(|b| b.byte_len()).sum();
        batches + bytes_of(self.gradients.parts())
    }

    fn step(&self) -> Option<u64> {
        Some(self.step + 1)
    }
}

impl Payload for WeightsVersion {
    const NAME: &'static str = "weights";

    fn byte_len(&self) -> usize {
        weights_bytes(&self.weights) + self.replicas.iter().map(|w| weights_bytes(w)).sum::<usize>()
    }
}

/// The state of a training run after a step. A checkpoint stores it, and an evaluation runs on it.
#[derive(Debug, Clone)]
pub struct TrainState {
    /// The number of steps done.
    pub step: u64,
    /// The epoch of the last step.
    pub epoch: u64,
    /// How much of the epoch is used up after the step.
    pub progress: EpochProgress,
    /// The number of videos seen in training.
    pub samples: u64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// The weights after the last step.
    pub weights: Arc<Weights>,
    /// Adam's moments after the last step. Each of the optimizer's devices holds its slice.
    pub moments: Arc<DividedMoments>,
    /// What an evaluation of these weights measured, if one ran.
    pub metrics: Option<BTreeMap<String, f64>>,
    /// The last measurement so far, of these weights or of earlier ones. `None` until the state has passed an
    /// `evaluate` that measured something.
    pub measured: Option<Arc<Measured>>,
    /// Whether this is the state of the checkpoint that the run continues from. Such a state comes before the first
    /// step and is not a new step.
    pub restored: bool,
    /// Set where the stage that sends the state has failed and only waits until the state is written.
    pub handover: Option<Handover>,
    /// The tie to the stage that made the state, for stages that let go of it until they need it. `None` where that stage
    /// shows no newer states.
    pub lease: Option<Lease<TrainState>>,
}

impl TrainState {
    /// This state as its maker shows it: without the tie, which would tie it to itself, and without a request to write it.
    pub(crate) fn shown(&self) -> Self {
        Self { lease: None, handover: None, ..self.clone() }
    }
}

impl Payload for TrainState {
    const NAME: &'static str = "states";

    /// Counts the weights and the moments, also where another state or stage holds the same ones.
    fn byte_len(&self) -> usize {
        weights_bytes(&self.weights) + bytes_of(self.moments.tensors())
    }

    fn step(&self) -> Option<u64> {
        Some(self.step)
    }
}

fn bytes_of<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> usize {
    tensors.into_iter().map(|t| t.elem_count() * t.dtype().size_in_bytes()).sum()
}

fn weights_bytes(weights: &Weights) -> usize {
    bytes_of(weights.parameters.iter().map(|p| p.as_tensor()).chain(&weights.buffers))
}
