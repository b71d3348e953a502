//! NeXtVLAD and the video-level models as pure functions on candle tensors, which know of no stage and no channel.
//!
//! A forward pass has no side effects. What a training step changes (running statistics) comes back as a value, and what
//! it draws (dropout) is named from outside.
//!
//! - [`NextVlad`] is the model, [`NextVladConfig`] its shape and the choices on which the reference systems differ;
//! - [`Logistic`] and [`MixtureOfExperts`] are YouTube-8M's baselines on the means of a video's frames;
//! - [`Weights`] is one version of a model's parameters and buffers, [`Gradients`] what [`backward`] makes of a loss;
//! - every part of NeXtVLAD exists twice: in plain tensor operations, which run on any device, and as fused kernels with
//!   hand-written gradients for the CPU. [`Kernels`] chooses; tests hold both to the same golden values.
//!
//! All models are generic over `f32` and `f64`; the type of the weights decides.
//!
//! This file only names what the folder offers; each name is defined in the file it is taken from.

mod batch;
mod definition;
mod dropout;
mod exported;
mod gradients;
mod logistic;
mod loss;
mod means;
mod misfit;
mod mixture;
mod nextvlad;
mod norm;
mod weights;

pub use crate::kernels::backend::Kernels;
pub use crate::kernels::forms::{L2Norm, LossForm};
pub use crate::kernels::moments::NormMoments;
pub use crate::kernels::precision::Precision;
pub use batch::DeviceBatch;
pub use candle_core::Result;
pub use definition::{
    BatchMoments, BufferSpec, DataSizes, Evaluator, Init, Model, ModelConfig, ParameterSpec, ShardSize,
    StepBytes, TrainForward, Weights,
};
pub use dropout::Dropout;
pub use exported::{Array, Arrays};
pub use gradients::{Gradients, backward};
pub use logistic::{Logistic, LogisticConfig};
pub use means::InputNorm;
pub use misfit::Misfit;
pub use mixture::{MixtureConfig, MixtureOfExperts};
pub(crate) use nextvlad::MAX_SIZE;
pub use nextvlad::{CentersFanIn, DropoutMode, GateVariance, NextVlad, NextVladConfig, RunningStatistics};
pub(crate) use weights::draw;
pub use weights::{WeightsError, check_fit};
