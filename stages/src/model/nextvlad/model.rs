//! NeXtVLAD as a model: what [`Model`] asks, and the evaluations in each precision.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use framewise_pipeline::KeyWord as _;

use super::config::NextVladConfig;
use super::layout::Layout;
use super::merged::{Maps, MergedNextVlad, problem_in};
use super::network::NextVlad;
use super::{exported, intermediates, memory, running};
use crate::kernels::backend::Backend;
use crate::kernels::precision::Precision;
use crate::model::batch::DeviceBatch;
use crate::model::definition::{
    BatchMoments, BufferSpec, DataSizes, Evaluator, Model, ModelConfig, ParameterSpec, ShardSize, StepBytes,
    TrainForward, Weights,
};
use crate::model::dropout::Dropout;
use crate::model::exported::{Array, Arrays};
use crate::model::loss;

/// The evaluation of one version of the weights as they are, with their folds.
struct FoldedNextVlad {
    model: NextVlad,
    weights: Weights,
    folds: Vec<Option<Tensor>>,
}

impl Evaluator for FoldedNextVlad {
    fn logits(&self, batch: &DeviceBatch) -> Result<Tensor> {
        self.model.evaluate(&self.weights, &self.folds, batch, (&mut |_, _| {}, false))
    }
}

impl FoldedNextVlad {
    /// The evaluation of one version of the weights, if something of it can be worked out once.
    fn of(model: &NextVlad, weights: &Weights) -> Result<Option<Self>> {
        let folds = model.folds(weights)?;
        let pays = folds.iter().any(Option::is_some);
        Ok(pays.then(|| Self { model: model.clone(), weights: weights.clone(), folds }))
    }
}

impl ModelConfig for NextVladConfig {
    type Model = NextVlad;

    fn data_sizes(&self) -> DataSizes {
        DataSizes { rgb_size: self.rgb_size, audio_size: self.audio_size, classes: self.classes }
    }

    fn problems(&self) -> Vec<String> {
        self.check()
    }

    fn model(self) -> Result<NextVlad> {
        NextVlad::new(self)
    }
}

impl Model for NextVlad {
    fn name(&self) -> &'static str {
        "nextvlad"
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

    /// The parameters in their order: `rgb.*`, `audio.*`, then the hidden layer, the gate and the classifier.
    fn parameters(&self) -> Vec<ParameterSpec> {
        Layout::of(&self.config).parameters
    }

    /// The buffers in their order: running mean and variance of every batch norm in the order of [`BatchMoments`], then
    /// `input.rgb_scale`.
    fn buffers(&self) -> Vec<BufferSpec> {
        Layout::of(&self.config).buffers
    }

    fn forward_train(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
    ) -> Result<TrainForward> {
        self.train(weights, batch, dropout, (&mut |_, _| {}, false))
    }

    fn intermediates(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
    ) -> Result<Vec<(String, Tensor)>> {
        let mut traced = Vec::new();
        let mut trace = |name: &str, value: &Tensor| traced.push((name.to_owned(), value.detach()));
        let forward = self.trace_train(weights, batch, dropout, &mut trace)?;
        Ok(intermediates::in_order(traced, forward))
    }

    fn forward_eval(&self, weights: &Weights, batch: &DeviceBatch) -> Result<Tensor> {
        match self.evaluator(weights)? {
            Some(evaluator) => evaluator.logits(batch),
            None => self.evaluate(weights, &self.folds(weights)?, batch, (&mut |_, _| {}, false)),
        }
    }

    fn evaluator(&self, weights: &Weights) -> Result<Option<Box<dyn Evaluator>>> {
        let device = weights.device().unwrap_or(&Device::Cpu);
        let boxed = |folded: FoldedNextVlad| -> Box<dyn Evaluator> { Box::new(folded) };
        match (self.precision, self.kernels.on(device)) {
            (Precision::F32, _) | (_, Backend::FusedCpu) => {}
            // Weights that were joined with batch norms have kernels of the CPU alone.
            (Precision::Bf16, Backend::FusedCuda) => {
                return Ok(FoldedNextVlad::of(self, weights)?.map(boxed));
            }
            (precision, Backend::FusedCuda) => {
                candle_core::bail!("products in {} are computed on the CPU only", precision.word())
            }
            (_, Backend::Plain) => candle_core::bail!(
                "products of narrow operands need f32 weights and the kernels of the CPU or of a GPU"
            ),
        }
        if let Some(problem) = problem_in(&self.config, self.precision) {
            candle_core::bail!("{problem}");
        }
        Ok(match (self.precision, self.precision.planes()) {
            (Precision::F32, _) => FoldedNextVlad::of(self, weights)?.map(boxed),
            (_, None) => Some(Box::new(MergedNextVlad::bf16(&self.config, weights)?)),
            (_, Some(planes)) => Some(Box::new(MergedNextVlad::whole(&self.config, weights, planes)?)),
        })
    }

    fn in_precision(&self, precision: Precision) -> std::result::Result<Arc<dyn Model>, String> {
        match problem_in(&self.config, precision) {
            Some(problem) => Err(problem),
            None => Ok(Arc::new(Self { precision, ..self.clone() })),
        }
    }

    /// In bf16, the parameters are rounded, and buffers stay as they are. In whole numbers, each map of the evaluation has its
    /// arrays, as docs/export.md lists them.
    fn export(&self, weights: &Weights) -> Result<Arrays> {
        if let Some(problem) = problem_in(&self.config, self.precision) {
            candle_core::bail!("{problem}");
        }
        if let Some(planes) = self.precision.planes() {
            return exported::to_arrays(&self.config, &Maps::round(&self.config, weights, planes)?);
        }
        if self.precision == Precision::F32 {
            candle_core::bail!("weights in f32 are exported as they are");
        }
        let names = self.parameters().into_iter().map(|spec| spec.name);
        let rounded = names.zip(&weights.parameters).map(|(name, parameter)| {
            Ok((name, Array::Float(parameter.as_detached_tensor().to_dtype(DType::BF16)?)))
        });
        let mut arrays = rounded.collect::<Result<Arrays>>()?;
        let names = self.buffers().into_iter().map(|spec| spec.name);
        arrays.extend(names.zip(&weights.buffers).map(|(name, buffer)| (name, Array::Float(buffer.clone()))));
        Ok(arrays)
    }

    fn check_export(&self, theirs: &serde_json::Value) -> std::result::Result<(), String> {
        exported::check(&Model::describe(self), theirs)
    }

    fn of_export(&self, arrays: Arrays) -> std::result::Result<Arc<dyn Model>, String> {
        exported::model_of(&self.config, self.precision, arrays)
    }

    fn step_bytes(&self, size: ShardSize) -> Option<StepBytes> {
        Some(memory::step_bytes(&self.config, self.precision, size))
    }

    fn loss(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        loss::loss(logits, labels, self.config.loss, self.kernels.on(logits.device()))
    }

    fn fold_moments(&self, weights: &Weights, shards: &[&BatchMoments]) -> Result<Vec<Tensor>> {
        running::fold(&self.config, &weights.buffers, shards)
    }
}
