//! A mixture of logistic experts for every class: `MoeModel` of YouTube-8M's starter code.
//!
//! ```text
//! a = x W_gatesᵀ                  [B, classes, M + 1]    no bias
//! e = x W_expertsᵀ + b_experts    [B, classes, M]
//! g = softmax(a) over M + 1
//! p = Σ_m g_m · sigmoid(e_m)      the last gate leads to an expert that always says no
//! ```
//!
//! Law: the logits are `ln p − ln(1 − p)`, so that `sigmoid(logit)` is p, and the loss of the other models serves this
//! one too. The loss is finite for finite activations, because the logits are computed without p:
//!
//! ```text
//! ln p       = lse_m(a_m − softplus(−e_m))            − lse(a)
//! ln (1 − p) = lse(a_m − softplus(e_m) …, a_{M+1})    − lse(a)
//! ```
//!
//! The starter code computes p and adds a small number inside the logarithms of its loss. Where p is far from 0 and 1,
//! that is the same.

use candle_core::{Result, Tensor};
use framewise_pipeline::Keys;
use serde::{Deserialize, Serialize};

use super::batch::DeviceBatch;
use super::definition::{
    BatchMoments, BufferSpec, DataSizes, Init, Model, ModelConfig, ParameterSpec, TrainForward, Weights,
};
use super::dropout::Dropout;
use super::means::{self, InputNorm};
use crate::kernels::backend::{Backend, Kernels};
use crate::kernels::cpu::mixture as fused;

/// Everything that defines a mixture of experts but its weights.
#[derive(Clone, Debug, PartialEq, Keys, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixtureConfig {
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
    /// Experts of a class, besides the one that always says no.
    #[key(range = 1..=1 << 16, default = 2)]
    pub mixtures: usize,
}

impl Default for MixtureConfig {
    fn default() -> Self {
        Self::defaults()
    }
}

impl ModelConfig for MixtureConfig {
    type Model = MixtureOfExperts;

    fn data_sizes(&self) -> DataSizes {
        DataSizes { rgb_size: self.rgb_size, audio_size: self.audio_size, classes: self.classes }
    }

    fn problems(&self) -> Vec<String> {
        means::check_sizes(&[
            ("rgb_size", self.rgb_size),
            ("audio_size", self.audio_size),
            ("classes", self.classes),
            ("mixtures", self.mixtures),
        ])
    }

    fn model(self) -> Result<MixtureOfExperts> {
        MixtureOfExperts::new(self)
    }
}

/// A mixture of logistic experts on the means of a video's frames.
#[derive(Clone, Debug, PartialEq)]
pub struct MixtureOfExperts {
    /// The shape; sound, see [`ModelConfig::problems`].
    pub config: MixtureConfig,
    /// The implementation that computes: [`Kernels::Plain`], or for any other value a fused kernel on the CPU. Both
    /// give the same numbers up to rounding.
    pub kernels: Kernels,
}

impl MixtureOfExperts {
    /// The model of a configuration; fails with everything [`ModelConfig::problems`] finds.
    pub fn new(config: MixtureConfig) -> Result<Self> {
        let errors = config.problems();
        if !errors.is_empty() {
            candle_core::bail!("a mixture of experts cannot have this configuration: {}", errors.join("; "));
        }
        Ok(Self { config, kernels: Kernels::Auto })
    }

    fn logits(&self, weights: &Weights, batch: &DeviceBatch, parameters: &[Tensor]) -> Result<Tensor> {
        means::check(self, weights)?;
        let [gates, experts, bias] = parameters else {
            candle_core::bail!("a mixture of experts has three tensors")
        };
        let (classes, mixtures) = (self.config.classes, self.config.mixtures);
        let x = means::features(self, batch, self.config.input_norm, gates.dtype())?;
        let videos = x.dim(0)?;
        let backend = self.kernels.on(x.device());
        let gates = means::linear(&x, gates, backend)?;
        let experts = means::linear(&x, experts, backend)?.broadcast_add(bias)?;
        if backend == Backend::FusedCpu {
            return fused::logits(&gates, &experts, mixtures);
        }
        let gates = gates.reshape((videos, classes, mixtures + 1))?;
        let experts = experts.reshape((videos, classes, mixtures))?;
        let (chosen, none) = (gates.narrow(2, 0, mixtures)?, gates.narrow(2, mixtures, 1)?);
        let yes = (&chosen - softplus(&experts.neg()?)?)?;
        let no = Tensor::cat(&[&(&chosen - softplus(&experts)?)?, &none], 2)?;
        log_sum_exp(&yes)? - log_sum_exp(&no)?
    }
}

/// `ln(1 + e^x)`. Its gradient is the sigmoid also at 0, because both parts count 0 as positive.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// `ln Σ e^x` over the last dimension, which is removed.
fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    let top = x.detach().max_keepdim(2)?;
    let sum = x.broadcast_sub(&top)?.exp()?.sum_keepdim(2)?;
    (sum.log()? + top)?.squeeze(2)
}

impl Model for MixtureOfExperts {
    fn name(&self) -> &'static str {
        "mixture_of_experts"
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

    /// The parameters. Rows stand class after class, and within a class mixture after mixture, as in the starter code's
    /// columns.
    fn parameters(&self) -> Vec<ParameterSpec> {
        let inputs = self.config.rgb_size + self.config.audio_size;
        let gates = self.config.classes * (self.config.mixtures + 1);
        let experts = self.config.classes * self.config.mixtures;
        let matrix = |name: &str, outputs: usize| ParameterSpec {
            name: name.into(),
            shape: vec![outputs, inputs],
            init: means::glorot(outputs, inputs),
        };
        vec![
            matrix("gates.weight", gates),
            matrix("experts.weight", experts),
            ParameterSpec { name: "experts.bias".into(), shape: vec![experts], init: Init::Zeros },
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
