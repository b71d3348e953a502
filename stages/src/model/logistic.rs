//! Logistic regression on video-level features: `LogisticModel` of YouTube-8M's starter code.
//!
//! ```text
//! l = x Wᵀ + b                  x [B, F], W [classes, F]: F = rgb_size + audio_size
//! p = sigmoid(l)
//! ```

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::means::{self, InputNorm};
use super::{
    BatchMoments, BufferSpec, DeviceBatch, Dropout, Init, Model, ParameterSpec, TrainForward, Weights,
};

/// Everything that defines a logistic model but its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticConfig {
    /// Mean visual features of a video. Default 1024.
    pub rgb_size: usize,
    /// Mean audio features of a video. Default 128.
    pub audio_size: usize,
    /// Classes. Default 3862.
    pub classes: usize,
    /// Default `l2`.
    pub input_norm: InputNorm,
}

impl Default for LogisticConfig {
    fn default() -> Self {
        Self { rgb_size: 1024, audio_size: 128, classes: 3862, input_norm: InputNorm::L2 }
    }
}

impl LogisticConfig {
    /// Every value that no model can have, one sentence each; empty if the configuration is sound.
    pub fn check(&self) -> Vec<String> {
        means::check_sizes(&[
            ("rgb_size", self.rgb_size),
            ("audio_size", self.audio_size),
            ("classes", self.classes),
        ])
    }
}

/// The model.
#[derive(Clone, Debug, PartialEq)]
pub struct Logistic {
    /// Its shape; sound, see [`LogisticConfig::check`].
    pub config: LogisticConfig,
}

impl Logistic {
    /// The model of a configuration; fails with everything [`LogisticConfig::check`] finds.
    pub fn new(config: LogisticConfig) -> Result<Self> {
        let errors = config.check();
        if !errors.is_empty() {
            candle_core::bail!("this logistic model cannot be: {}", errors.join("; "));
        }
        Ok(Self { config })
    }

    fn logits(&self, weights: &Weights, batch: &DeviceBatch, parameters: &[Tensor]) -> Result<Tensor> {
        means::check(self, weights)?;
        let [weight, bias] = parameters else { candle_core::bail!("a logistic model has two tensors") };
        let x = means::features(self, batch, self.config.input_norm, weight.dtype())?;
        means::linear(&x, weight, x.device().is_cpu())?.broadcast_add(bias)
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
