//! NeXtVLAD and the video-level models as pure functions on candle tensors, with no stage and no channel in sight.
//! The one law: a forward pass has no side effects. What a training step changes (running statistics) comes back as a
//! value, and what it draws (dropout) is named from outside.
//!
//! - [`NextVlad`] is the model, [`NextVladConfig`] its shape and the choices on which the reference systems differ;
//! - [`Logistic`] and [`MixtureOfExperts`] are YouTube-8M's baselines on the means of a video's frames;
//! - [`Weights`] is one version of a model's parameters and buffers, [`Gradients`] what [`backward`] makes of a loss;
//! - every part of NeXtVLAD exists twice: in plain tensor operations, which run on any device, and as fused kernels with
//!   hand-written gradients for the CPU. [`Kernels`] chooses; tests hold both to the same golden values.
//!
//! All are generic over `f32` and `f64`; the weights' type decides.

mod classify;
mod config;
mod dropout;
mod gradients;
mod intermediates;
mod kernels;
mod logistic;
mod loss;
mod means;
mod mixture;
mod mixture_fused;
mod moments;
mod nextvlad;
mod node;
mod norm;
mod vlad;
mod weights;

use candle_core::{DType, Tensor};

pub use candle_core::Result;
pub(crate) use config::MAX_SIZE;
pub use config::{
    CentersFanIn, DropoutMode, GateVariance, L2Norm, LossForm, NextVladConfig, RunningStatistics,
};
pub use dropout::Dropout;
pub use gradients::{Gradients, backward};
pub(crate) use kernels::{Flat, Real, for_float};
pub use logistic::{Logistic, LogisticConfig};
pub use means::InputNorm;
pub use mixture::{MixtureConfig, MixtureOfExperts};
pub use moments::{BatchMoments, NormMoments};
pub use nextvlad::{Kernels, NextVlad};
pub(crate) use weights::draw;
pub use weights::{Weights, WeightsError};

/// How a parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Independent normal values of mean 0.
    Normal {
        /// Their variance.
        variance: f64,
    },
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
}

/// One trainable tensor of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// Its name in a weights file.
    pub name: String,
    /// Its shape; matrices are [out, in].
    pub shape: Vec<usize>,
    /// How it begins.
    pub init: Init,
}

/// One tensor of a model that is stored with it but not trained: running statistics, input factors.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferSpec {
    /// Its name in a weights file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The value all its elements begin with.
    pub fill: f32,
}

/// Videos of one shard on one device, packed: the frames of all videos one after another, no padding; or, for the
/// video-level models, one row a video.
#[derive(Clone, Debug)]
pub struct DeviceBatch {
    /// Visual rows, u8 [N, rgb_size]; means are f32 or f64 [B, rgb_size].
    pub rgb: Tensor,
    /// Audio rows, u8 [N, audio_size]; means are f32 or f64 [B, audio_size].
    pub audio: Tensor,
    /// Frames of each video, each at least 1; their sum is N. All 1 for means.
    pub lengths: Vec<usize>,
}

impl DeviceBatch {
    /// Videos in the batch, B.
    pub fn videos(&self) -> usize {
        self.lengths.len()
    }

    /// Refuses what no model can compute: no video, a video without frames, rows that the lengths do not account for.
    pub(crate) fn check(&self, rgb_size: usize, audio_size: usize) -> Result<()> {
        let frames: usize = self.lengths.iter().sum();
        if self.lengths.is_empty() {
            candle_core::bail!("a batch without videos");
        }
        if let Some(video) = self.lengths.iter().position(|frames| *frames == 0) {
            candle_core::bail!("video {video} of the batch has no frames");
        }
        for (name, rows, size) in [("rgb", &self.rgb, rgb_size), ("audio", &self.audio, audio_size)] {
            if rows.dtype() != DType::U8 || rows.dims() != [frames, size] {
                candle_core::bail!(
                    "the {name} rows of the batch are {:?} {:?}, expected U8 [{frames}, {size}]",
                    rows.dtype(),
                    rows.dims()
                );
            }
        }
        Ok(())
    }
}

/// What a training forward pass yields.
#[derive(Clone, Debug)]
pub struct TrainForward {
    /// Logits [B, classes] with their tape.
    pub logits: Tensor,
    /// Batch moments of every batch norm, for [`Model::fold_moments`].
    pub moments: BatchMoments,
}

/// A model: pure functions of its weights and a batch.
pub trait Model: Send + Sync + std::fmt::Debug {
    /// Its name in graphs and checkpoints.
    fn name(&self) -> &'static str;

    /// Its name and configuration, as checkpoints store them.
    fn describe(&self) -> serde_json::Value;

    /// Classes it scores.
    fn classes(&self) -> usize;

    /// Visual features of a frame or, at video level, of a video.
    fn rgb_size(&self) -> usize;

    /// Audio features of a frame or, at video level, of a video.
    fn audio_size(&self) -> usize;

    /// Its parameters, in the fixed order in which [`Weights`], [`Gradients`] and the optimiser hold them.
    fn parameters(&self) -> Vec<ParameterSpec>;

    /// Its buffers, in the fixed order in which [`Weights`] holds them.
    fn buffers(&self) -> Vec<BufferSpec>;

    /// Logits and batch moments under training: batch statistics and dropout.
    fn forward_train(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
    ) -> Result<TrainForward>;

    /// What a training forward pass computes on the way, in order, by name and without tape; the logits last. For
    /// finding out where numbers stopped being finite.
    fn intermediates(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
    ) -> Result<Vec<(String, Tensor)>> {
        let forward = self.forward_train(weights, batch, dropout)?;
        Ok(vec![("logits".to_owned(), forward.logits.detach())])
    }

    /// Logits [B, classes] under evaluation: running statistics, no dropout, no tape.
    fn forward_eval(&self, weights: &Weights, batch: &DeviceBatch) -> Result<Tensor>;

    /// The loss of each video, `[B]`, summed over classes, of `logits` [B, classes] against `labels` [B, classes]
    /// (1 where the class applies, else 0; any float type). Finite for any finite logit.
    fn loss(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor>;

    /// The buffers of the next version of `weights`: running statistics with the moments of a step's `shards`
    /// (in shard order) folded in, all else as it was.
    fn fold_moments(&self, weights: &Weights, shards: &[&BatchMoments]) -> Result<Vec<Tensor>>;
}
