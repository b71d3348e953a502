//! What a model is: named tensors in a fixed order, and pure functions of them.
//!
//! A model and its weights name each other, so both are defined here; what can be done with weights is in
//! [`super::weights`].

use std::sync::Arc;

use candle_core::{Result, Tensor, Var};
use framewise_pipeline::{KeyWord as _, Keys};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::DeviceBatch;
use super::dropout::Dropout;
use super::exported::Arrays;
use crate::kernels::moments::NormMoments;
use crate::kernels::precision::Precision;

/// The way in which a parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Independent normal values with mean 0.
    Normal {
        /// The variance of the values.
        variance: f64,
    },
    /// All values are 0.
    Zeros,
    /// All values are 1.
    Ones,
}

/// One trainable tensor of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// The tensor's name in a weights file.
    pub name: String,
    /// The tensor's shape; matrices are [out, in].
    pub shape: Vec<usize>,
    /// The values with which the tensor begins.
    pub init: Init,
}

/// One tensor of a model that is stored with it but not trained: running statistics, input factors.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferSpec {
    /// The tensor's name in a weights file.
    pub name: String,
    /// The tensor's shape.
    pub shape: Vec<usize>,
    /// The value with which all elements begin.
    pub fill: f32,
}

/// One version of a model's parameters and buffers, each in the order of the model's specification, all on one device
/// and of one float type.
///
/// Parameters are [`Var`]s, allocated once, so that a tape can start at them without a copy. Nothing may write to them
/// once the version is published; [`Var::set`] would change them under any live tape.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The model that the tensors belong to.
    pub model: Arc<dyn Model>,
    /// The trainable tensors, in the order of [`Model::parameters`].
    pub parameters: Vec<Var>,
    /// The tensors that are stored but not trained, in the order of [`Model::buffers`].
    pub buffers: Vec<Tensor>,
}

/// The moments of every batch norm of a model over one shard, in the order of the model's buffers.
#[derive(Clone, Debug)]
pub struct BatchMoments {
    /// One entry for each batch norm.
    pub layers: Vec<NormMoments>,
}

/// The result of a forward pass in training.
#[derive(Clone, Debug)]
pub struct TrainForward {
    /// The logits [B, classes] with their tape.
    pub logits: Tensor,
    /// The batch moments of every batch norm, for [`Model::fold_moments`].
    pub moments: BatchMoments,
}

/// A model: pure functions of its weights and a batch.
pub trait Model: Send + Sync + std::fmt::Debug {
    /// The model's name in graphs and checkpoints.
    fn name(&self) -> &'static str;

    /// The model's name and configuration, as checkpoints store them.
    fn describe(&self) -> serde_json::Value;

    /// Classes that the model scores.
    fn classes(&self) -> usize;

    /// Visual features of a frame or, at video level, of a video.
    fn rgb_size(&self) -> usize;

    /// Audio features of a frame or, at video level, of a video.
    fn audio_size(&self) -> usize;

    /// The model's parameters, in the fixed order in which [`Weights`], [`super::Gradients`] and the optimizer hold
    /// them.
    fn parameters(&self) -> Vec<ParameterSpec>;

    /// The model's buffers, in the fixed order in which [`Weights`] holds them.
    fn buffers(&self) -> Vec<BufferSpec>;

    /// Computes logits and batch moments in training, with batch statistics and dropout.
    fn forward_train(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
    ) -> Result<TrainForward>;

    /// The values that a forward pass in training computes on the way, in order, by name and without a tape. The logits
    /// come last. They serve to find out where numbers stopped being finite.
    fn intermediates(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
    ) -> Result<Vec<(String, Tensor)>> {
        let forward = self.forward_train(weights, batch, dropout)?;
        Ok(vec![("logits".to_owned(), forward.logits.detach())])
    }

    /// Computes the logits [B, classes] in evaluation, with running statistics and without dropout or a tape.
    fn forward_eval(&self, weights: &Weights, batch: &DeviceBatch) -> Result<Tensor>;

    /// The evaluation of many batches with one version of the weights, where it pays to work out first what depends on
    /// the weights alone. `None` for a model that has nothing of this kind. The logits are those of
    /// [`Model::forward_eval`].
    fn evaluator(&self, _weights: &Weights) -> Result<Option<Box<dyn Evaluator>>> {
        Ok(None)
    }

    /// This model with its products taken in `precision`.
    ///
    /// # Errors
    /// What a model of this kind or size has no products for, without a full stop.
    fn in_precision(&self, precision: Precision) -> std::result::Result<Arc<dyn Model>, String> {
        Err(format!("the model `{}` has no products in {}", self.name(), precision.word()))
    }

    /// What an evaluation in the precision of this model needs of `weights`, as arrays to store.
    ///
    /// # Errors
    /// The precision has no form of its own, or the weights are not those of this model.
    fn export(&self, _weights: &Weights) -> Result<Arrays> {
        candle_core::bail!("the model `{}` has no weights to export", self.name())
    }

    /// Checks that an evaluation by this model is that of exported weights, whose model [described](Model::describe) itself
    /// as `theirs`.
    ///
    /// # Errors
    /// What differs, without a full stop.
    fn check_export(&self, _theirs: &serde_json::Value) -> std::result::Result<(), String> {
        Err(format!("the model `{}` has no exported weights", self.name()))
    }

    /// The model of which the weights in `arrays` are a part, which [`Model::export`] of this one made.
    ///
    /// # Errors
    /// What does not fit this model, without a full stop.
    fn of_export(&self, _arrays: Arrays) -> std::result::Result<Arc<dyn Model>, String> {
        Err(format!("the model `{}` has no exported weights", self.name()))
    }

    /// The precision of weights that are a part of the model. `None` for a model whose weights are its parameters and
    /// buffers.
    fn exported(&self) -> Option<Precision> {
        None
    }

    /// The memory of a training step and of an evaluation step on one shard of this size, computed on the CPU. `None` for
    /// a model that does not tell.
    fn step_bytes(&self, _size: ShardSize) -> Option<StepBytes> {
        None
    }

    /// The loss of each video, `[B]`, summed over classes, of `logits` [B, classes] against `labels` [B, classes]
    /// (1 where the class applies, and 0 otherwise, of any float type). The loss is finite for any finite logit.
    fn loss(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor>;

    /// The buffers of the next version of `weights`: running statistics with the moments of a step's `shards`
    /// (in shard order) folded in, all else as it was.
    fn fold_moments(&self, weights: &Weights, shards: &[&BatchMoments]) -> Result<Vec<Tensor>>;
}

/// The size of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardSize {
    /// The number of videos B.
    pub videos: u64,
    /// The number of rows of features: the frames of all videos N or, at video level, the videos.
    pub rows: u64,
}

/// The bytes that a step on one shard holds in addition to the weights and to the gradients of the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepBytes {
    /// What the forward pass in training keeps for the backward pass.
    pub tape: u64,
    /// What the backward pass holds at its peak, in addition to the tape.
    pub backward: u64,
    /// What the forward pass in evaluation holds at its peak.
    pub evaluation: u64,
}

/// The evaluation of batches with one version of the weights.
pub trait Evaluator: Send + Sync {
    /// Computes the logits [B, classes], with running statistics and without dropout or a tape.
    fn logits(&self, batch: &DeviceBatch) -> Result<Tensor>;
}

/// Sizes of the data that a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataSizes {
    /// Visual features of a frame or, at video level, of a video.
    pub rgb_size: usize,
    /// Audio features of a frame or, at video level, of a video.
    pub audio_size: usize,
    /// Classes that the model scores.
    pub classes: usize,
}

/// The configuration of a model: everything that defines it but its weights. Each field is a key of graphs and of
/// configuration files.
///
/// The derives of keys and of their words are the only things that models take from the pipeline. Like the derives of serde, it only
/// describes the fields. So the name, range, default and documentation of a key are written once, and a model computes
/// without it.
pub trait ModelConfig: Keys + Default + Serialize + DeserializeOwned {
    /// The model that this configuration defines.
    type Model: Model + 'static;

    /// The sizes of the data, also of a configuration that no model can have.
    fn data_sizes(&self) -> DataSizes;

    /// Every value that no model can have, one sentence each, which begins with the key; empty if the configuration is
    /// sound.
    fn problems(&self) -> Vec<String>;

    /// The model of this configuration.
    ///
    /// # Errors
    /// Everything that [`ModelConfig::problems`] finds.
    fn model(self) -> Result<Self::Model>;
}
