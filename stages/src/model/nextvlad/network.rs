//! NeXtVLAD, put together from its parts.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var};
use framewise_pipeline::KeyWord as _;

use super::config::{DropoutMode, NextVladConfig};
use super::head::{Head, Running, Trace};
use super::layout::{AUDIO_OFFSET, BranchLayout, Fetch, Layout, Side, Sizes};
use super::merged::{Maps, MergedNextVlad, problem_in};
use super::vlad::{self, Rows, Statistics};
use super::{exported, intermediates, memory, running};
use crate::kernels::backend::{Backend, Kernels};
use crate::kernels::cpu::batch_norm::Norm;
use crate::kernels::cpu::vlad::frames::{Codes, Frames};
use crate::kernels::cuda;
use crate::kernels::precision::Precision;
use crate::model::batch::DeviceBatch;
use crate::model::definition::{
    BatchMoments, BufferSpec, DataSizes, Evaluator, Model, ModelConfig, ParameterSpec, ShardSize, StepBytes,
    TrainForward, Weights,
};
use crate::model::dropout::Dropout;
use crate::model::exported::{Array, Arrays};
use crate::model::{loss, norm};

/// The model: its configuration, and the choice of the kernels that compute it.
#[derive(Clone, Debug, PartialEq)]
pub struct NextVlad {
    /// Shape and choices; sound, see [`NextVladConfig::check`].
    pub config: NextVladConfig,
    /// The implementation that computes. All of them give the same numbers up to rounding.
    pub kernels: Kernels,
    /// The numbers that the products of the forward and the backward pass take as operands. Any but [`Precision::F32`]
    /// needs f32 weights and the kernels of the CPU; [`Precision::Bf16`] has kernels of NVIDIA GPUs, too. Not every precision
    /// [trains](Precision::trains).
    pub precision: Precision,
}

impl NextVlad {
    /// The model of a configuration; fails with everything [`NextVladConfig::check`] finds.
    pub fn new(config: NextVladConfig) -> Result<Self> {
        let errors = config.check();
        if !errors.is_empty() {
            candle_core::bail!("a NeXtVLAD cannot have this configuration: {}", errors.join("; "));
        }
        Ok(Self { config, kernels: Kernels::Auto, precision: Precision::F32 })
    }

    /// ΣDK, the width of the joined descriptors and so of a dropout mask.
    pub fn descriptor_size(&self) -> usize {
        Side::BOTH.map(|side| Sizes::of(&self.config, side).descriptor()).iter().sum()
    }

    /// The layout of `weights`, once they and the batch were found to be of this model's shape.
    fn check(&self, weights: &Weights, batch: &DeviceBatch) -> Result<Layout> {
        self.config.check_batch(batch)?;
        let layout = Layout::of(&self.config);
        layout.check(weights)?;
        Ok(layout)
    }

    /// The frames of one modality. In bf16, they stay bytes on the CPU, and are made of bytes on a GPU.
    fn frames(
        &self,
        layout: &Layout,
        side: Side,
        tensors: &Fetch,
        batch: &DeviceBatch,
        backend: Backend,
    ) -> Result<Rows> {
        match self.precision {
            Precision::F32 => {
                let features = self.features(layout, side, tensors, batch, backend)?;
                return Ok(match backend {
                    Backend::FusedCuda => Rows::Card(cuda::codes::Frames::Features(features)),
                    Backend::Plain | Backend::FusedCpu => Rows::Host(Frames::Features(features)),
                });
            }
            Precision::Bf16 => {}
            // What is worked out of the weights once has no intermediate values, and no gradient.
            Precision::Int8 | Precision::Int8x2 => candle_core::bail!(
                "precision {} is for evaluation and prediction alone",
                self.precision.word()
            ),
        }
        let scale = &tensors[layout.rgb_scale];
        if backend == Backend::Plain || scale.dtype() != DType::F32 {
            candle_core::bail!(
                "products of narrow operands need f32 weights and the kernels of the CPU or of a GPU"
            );
        }
        let (bytes, offset, scale) = match side {
            Side::Rgb => (&batch.rgb, 0.0, Some(scale)),
            Side::Audio => (&batch.audio, AUDIO_OFFSET, None),
        };
        if backend == Backend::FusedCuda {
            let quantisation = cuda::codes::Quantisation::new(offset, scale)?;
            let codes = cuda::codes::Codes::new(bytes, quantisation)?;
            return Ok(Rows::Card(cuda::codes::Frames::Codes(codes)));
        }
        Ok(Rows::Host(Frames::Codes(Codes::new(bytes, offset, scale)?)))
    }

    /// The frames of one modality. Their features are shown to `trace`. Those of codes are made only if they are `shown`.
    fn traced_frames(
        &self,
        layout: &Layout,
        side: Side,
        tensors: &Fetch,
        batch: &DeviceBatch,
        backend: Backend,
        (trace, shown): (Trace, bool),
    ) -> Result<Rows> {
        let frames = self.frames(layout, side, tensors, batch, backend)?;
        let name = format!("{}.features", side.name());
        match frames.features() {
            Some(features) => trace(&name, features),
            None if shown => {
                trace(&name, &self.features(layout, side, tensors, batch, backend)?);
            }
            None => {}
        }
        Ok(frames)
    }

    /// The features [N, F] of one modality.
    fn features(
        &self,
        layout: &Layout,
        side: Side,
        tensors: &Fetch,
        batch: &DeviceBatch,
        backend: Backend,
    ) -> Result<Tensor> {
        let scale = &tensors[layout.rgb_scale];
        let dtype = scale.dtype();
        match side {
            Side::Rgb => vlad::dequantize(&batch.rgb, 0.0, Some(scale), dtype, backend),
            Side::Audio => vlad::dequantize(&batch.audio, AUDIO_OFFSET, None, dtype, backend),
        }
    }

    /// Computes [`Model::forward_train`], and shows intermediate values to `trace` by their golden names.
    pub fn trace_train(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
        trace: &mut dyn FnMut(&str, &Tensor),
    ) -> Result<TrainForward> {
        self.train(weights, batch, dropout, (trace, true))
    }

    /// The forward pass in training. Intermediate values that only `trace` needs are made if they are `shown`.
    fn train(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
        (trace, shown): (Trace, bool),
    ) -> Result<TrainForward> {
        let layout = self.check(weights, batch)?;
        let backend = self.kernels.on(batch.rgb.device());
        let epsilon = self.config.norm_epsilon;
        let parameters = weights.parameters.iter().map(|var| var.as_tensor().clone()).collect();
        let tensors = Fetch { parameters, buffers: &weights.buffers };
        let mut layers = Vec::new();
        let mut descriptors = Vec::new();
        for places in &layout.branches {
            let x =
                self.traced_frames(&layout, places.side, &tensors, batch, backend, (&mut *trace, shown))?;
            let branch = places.branch(&tensors, epsilon);
            let padded_rows =
                if self.config.pad_to == 0 { 0 } else { self.config.pad_to * batch.videos() - x.count()? };
            let statistics = Statistics::Batch { padded_rows };
            let fold = self.kernels.fold();
            let (v, assign) = vlad::cluster(&branch, x, &batch.lengths, &statistics, backend, fold)?;
            layers.extend(assign);
            let (weight, bias) = (&tensors[places.vlad_norm.weight], &tensors[places.vlad_norm.bias]);
            let norm = |u: &Tensor| norm::train(u, &Norm { weight, bias, epsilon }, backend);
            let (u, moments) = self.describe(places, &v, backend, trace, norm)?;
            layers.push(moments);
            descriptors.push(u);
        }
        let mut z = Tensor::cat(&descriptors, 1)?;
        let factors =
            dropout.factors(self.config.dropout, self.config.drop_rate, z.dims2()?, z.dtype(), z.device())?;
        if let Some(factors) = factors {
            z = z.mul(&factors)?;
        }
        let (logits, rest) =
            Head::of(&layout.head, &tensors, epsilon, self.precision).forward(&z, None, backend, trace)?;
        layers.extend(rest);
        Ok(TrainForward { logits, moments: BatchMoments { layers } })
    }

    /// Computes [`Model::forward_eval`], and shows intermediate values to `trace` by their golden names.
    pub fn trace_eval(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        trace: &mut dyn FnMut(&str, &Tensor),
    ) -> Result<Tensor> {
        self.evaluate(weights, &self.folds(weights)?, batch, (trace, true))
    }

    /// What an evaluation works out of the weights of each branch before it sees a frame.
    pub(super) fn folds(&self, weights: &Weights) -> Result<Vec<Option<Tensor>>> {
        let layout = Layout::of(&self.config);
        layout.check(weights)?;
        let backend = self.kernels.on(weights.device().unwrap_or(&Device::Cpu));
        let parameters = weights.parameters.iter().map(Var::as_detached_tensor).collect();
        let tensors = Fetch { parameters, buffers: &weights.buffers };
        let branches = layout.branches.iter().map(|places| places.branch(&tensors, self.config.norm_epsilon));
        branches.map(|branch| vlad::fold(&branch, self.precision, backend, self.kernels.fold())).collect()
    }

    /// The evaluation of one version of the weights, if something of it can be worked out once.
    fn folded(&self, weights: &Weights) -> Result<Option<Box<dyn Evaluator>>> {
        let folds = self.folds(weights)?;
        let pays = folds.iter().any(Option::is_some);
        Ok(pays.then(|| -> Box<dyn Evaluator> {
            Box::new(FoldedNextVlad { model: self.clone(), weights: weights.clone(), folds })
        }))
    }

    /// The forward pass in evaluation, with the [folds](Self::folds) of the weights. Intermediate values that only `trace`
    /// needs are made if they are `shown`.
    pub(super) fn evaluate(
        &self,
        weights: &Weights,
        folds: &[Option<Tensor>],
        batch: &DeviceBatch,
        (trace, shown): (Trace, bool),
    ) -> Result<Tensor> {
        let layout = self.check(weights, batch)?;
        let backend = self.kernels.on(batch.rgb.device());
        let epsilon = self.config.norm_epsilon;
        // The parameters are detached, so that no operation records a tape.
        let parameters = weights.parameters.iter().map(Var::as_detached_tensor).collect();
        let tensors = Fetch { parameters, buffers: &weights.buffers };
        let mut descriptors = Vec::new();
        for (places, folded) in layout.branches.iter().zip(folds) {
            let x =
                self.traced_frames(&layout, places.side, &tensors, batch, backend, (&mut *trace, shown))?;
            let branch = places.branch(&tensors, epsilon);
            let running = &places.assign_norm;
            let statistics = Statistics::Running {
                mean: &tensors[running.mean],
                variance: &tensors[running.variance],
                folded: folded.as_ref(),
            };
            let fold = self.kernels.fold();
            let (v, _) = vlad::cluster(&branch, x, &batch.lengths, &statistics, backend, fold)?;
            let places_of_norm = &places.vlad_norm;
            let norm = |u: &Tensor| {
                let (weight, bias) = (&tensors[places_of_norm.weight], &tensors[places_of_norm.bias]);
                let (mean, variance) = (&tensors[places_of_norm.mean], &tensors[places_of_norm.variance]);
                Ok((norm::eval(u, &Norm { weight, bias, epsilon }, mean, variance)?, ()))
            };
            descriptors.push(self.describe(places, &v, backend, trace, norm)?.0);
        }
        let mut z = Tensor::cat(&descriptors, 1)?;
        if self.config.dropout == DropoutMode::DownscaleInEval && self.config.drop_rate > 0.0 {
            z = z.affine(1.0 - self.config.drop_rate, 0.0)?;
        }
        let running = Running::of(&layout.head, &tensors);
        Ok(Head::of(&layout.head, &tensors, epsilon, self.precision)
            .forward(&z, Some(&running), backend, trace)?
            .0)
    }

    /// The descriptor of residuals: each cluster is brought to length one, and batch norm follows.
    fn describe<M>(
        &self,
        places: &BranchLayout,
        v: &Tensor,
        backend: Backend,
        trace: Trace,
        norm: impl FnOnce(&Tensor) -> Result<(Tensor, M)>,
    ) -> Result<(Tensor, M)> {
        let u = vlad::normalize(v, self.config.l2_norm, backend)?;
        trace(&format!("{}.vlad_l2", places.side.name()), &u);
        let (u, moments) = norm(&u)?;
        trace(&format!("{}.vlad_norm", places.side.name()), &u);
        Ok((u, moments))
    }
}

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
        match (self.precision, self.kernels.on(device)) {
            (Precision::F32, _) | (_, Backend::FusedCpu) => {}
            // Weights that were joined with batch norms have kernels of the CPU alone.
            (Precision::Bf16, Backend::FusedCuda) => return self.folded(weights),
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
            (Precision::F32, _) => self.folded(weights)?,
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
