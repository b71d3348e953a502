//! NeXtVLAD, put together from its parts.

use candle_core::{DType, Device, Result, Tensor, Var};
use framewise_pipeline::KeyWord as _;

use super::config::{DropoutMode, NextVladConfig};
use super::head::{Head, Running, Trace};
use super::layout::{AUDIO_OFFSET, BranchLayout, Fetch, Layout, Side, Sizes};
use super::vlad::{self, Rows, Statistics};
use crate::kernels::backend::{Backend, Kernels};
use crate::kernels::cpu::batch_norm::Norm;
use crate::kernels::cpu::vlad::frames::{Codes, Frames};
use crate::kernels::cuda;
use crate::kernels::precision::Precision;
use crate::model::batch::DeviceBatch;
use crate::model::definition::{BatchMoments, TrainForward, Weights};
use crate::model::dropout::Dropout;
use crate::model::norm;

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

    /// Computes [`Model::forward_train`](crate::model::Model::forward_train), and shows intermediate values to `trace` by their golden names.
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
    pub(super) fn train(
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

    /// Computes [`Model::forward_eval`](crate::model::Model::forward_eval), and shows intermediate values to `trace` by their golden names.
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
