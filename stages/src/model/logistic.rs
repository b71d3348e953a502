//! Logistic regression on video-level features: `LogisticModel` of YouTube-8M's starter code.
//!
//! ```text
//! l = x Wᵀ + b                  x [B, F], W [classes, F]: F = rgb_size + audio_size
//! p = sigmoid(l)
//! ```

use candle_core::{Result, Tensor};
use framewise_pipeline::Keys;
use serde::{Deserialize, Serialize};

use super::batch::DeviceBatch;
use super::definition::{
    BatchMoments, BufferSpec, DataSizes, Init, Model, ModelConfig, ParameterSpec, TrainForward, Weights,
};
use super::dropout::Dropout;
use super::means::{self, InputNorm};
use crate::kernels::backend::Backend;

/// Everything that defines a logistic model but its weights.
#[derive(Clone, Debug, PartialEq, Keys, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticConfig {
    /// Mean visual features of a video.
    #[key(range = 1..=1 << 24, default = 1024, unit = "features")]
    pub rgb_size: usize,
    /// Mean audio features of a video.
    #[key(range = 1..=1 << 24, default = 128, unit = "features")]
    pub audio_size: usize,
    /// Classes that the model scores.
    #[key(range = 1..=1 << 24, default = 3862)]
    pub classes: usize,
    /// l2 divides a video's joined features by their length, as YouTube-8M's starter code does.
    #[key(default = InputNorm::L2)]
    pub input_norm: InputNorm,
}

impl Default for LogisticConfig {
    fn default() -> Self {
        Self::defaults()
    }
}

impl ModelConfig for LogisticConfig {
    type Model = Logistic;

    fn data_sizes(&self) -> DataSizes {
        DataSizes { rgb_size: self.rgb_size, audio_size: self.audio_size, classes: self.classes }
    }

    fn problems(&self) -> Vec<String> {
        means::check_sizes(&[
            ("rgb_size", self.rgb_size),
            ("audio_size", self.audio_size),
            ("classes", self.classes),
        ])
    }

    fn model(self) -> Result<Logistic> {
        Logistic::new(self)
    }
}

/// Logistic regression on the means of a video's frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Logistic {
    /// The shape; sound, see [`ModelConfig::problems`].
    pub config: LogisticConfig,
}

impl Logistic {
    /// The model of a configuration; fails with everything [`ModelConfig::problems`] finds.
    pub fn new(config: LogisticConfig) -> Result<Self> {
        let errors = config.problems();
        if !errors.is_empty() {
            candle_core::bail!("a logistic model cannot have this configuration: {}", errors.join("; "));
        }
        Ok(Self { config })
    }

    fn logits(&self, weights: &Weights, batch: &DeviceBatch, parameters: &[Tensor]) -> Result<Tensor> {
        means::check(self, weights)?;
        let [weight, bias] = parameters else { candle_core::bail!("a logistic model has two tensors") };
        let x = means::features(self, batch, self.config.input_norm, weight.dtype())?;
        means::linear(&x, weight, Backend::of(x.device()))?.broadcast_add(bias)
    }
}

impl Model for Logistic {
    fn name(&self) -> &'static str {
        "logistic"
    }

    fn describe(&self) -> serde_json::Value {
        serde_json::json!({ "name": self.name(), "config": self.config })
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn rgb_size(&self) -> usize {
        self.config.rgb_size
    }

    fn audio_size(&self) -> usize {
        self.config.audio_size
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let (classes, inputs) = (self.config.classes, self.config.rgb_size + self.config.audio_size);
        vec![
            ParameterSpec {
                name: "classifier.weight".into(),
                shape: vec![classes, inputs],
                init: means::glorot(classes, inputs),
            },
            ParameterSpec { name: "classifier.bias".into(), shape: vec![classes], init: Init::Zeros },
        ]
    }

    fn buffers(&self) -> Vec<BufferSpec> {
        Vec::new()
    }

    fn forward_train(&self, weights: &Weights, batch: &DeviceBatch, _: &Dropout) -> Result<TrainForward> {
        means::train(weights, |parameters| self.logits(weights, batch, parameters))
    }

    fn forward_eval(&self, weights: &Weights, batch: &DeviceBatch) -> Result<Tensor> {
        means::eval(weights, |parameters| self.logits(weights, batch, parameters))
    }

    fn loss(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        means::loss(logits, labels)
    }

    fn fold_moments(&self, weights: &Weights, _: &[&BatchMoments]) -> Result<Vec<Tensor>> {
        Ok(weights.buffers.clone())
    }
}
