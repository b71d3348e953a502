//! NeXtVLAD in evaluation with products of bf16 operands, as a function of batches alone: everything that depends on the
//! weights is worked out once.
//!
//! The batch norms, the scale of dropout and the step from bytes to features are part of the weights of the products.

use candle_core::{DType, Result, Tensor, Var};
use rayon::prelude::*;

use super::config::{DropoutMode, NextVladConfig};
use super::layout::{AUDIO_OFFSET, Fetch, Layout, NormLayout, Side};
use crate::kernels::bf16::Matrix;
use crate::kernels::cpu::affine::{Affine, Lines};
use crate::kernels::cpu::vlad::frames::Codes;
use crate::kernels::cpu::vlad::merged::Merged;
use crate::kernels::flat::{Flat, tensor, to_f64};
use crate::kernels::float::sigmoid;
use crate::model::batch::DeviceBatch;
use crate::model::definition::{Evaluator, Weights};

/// The evaluation of one version of the weights.
pub(super) struct MergedNextVlad {
    config: NextVladConfig,
    rgb: Merged,
    audio: Merged,
    hidden: Affine,
    gate1: Affine,
    gate2: Affine,
    classifier: Affine,
}

/// The lines of a batch norm with its running statistics.
fn norm(tensors: &Fetch, places: &NormLayout, epsilon: f64) -> Result<Lines> {
    let (weight, bias) = (to_f64(&tensors[places.weight])?, to_f64(&tensors[places.bias])?);
    let (mean, variance) = (to_f64(&tensors[places.mean])?, to_f64(&tensors[places.variance])?);
    let scale: Vec<f64> =
        weight.iter().zip(variance).map(|(weight, variance)| weight / (variance + epsilon).sqrt()).collect();
    let shift = bias.iter().zip(mean).zip(&scale).map(|((bias, mean), scale)| bias - mean * scale);
    Ok(Lines { shift: shift.collect(), scale })
}

/// The affine map of a parameter between two lines.
fn affine(weight: &Tensor, before: &Lines, after: &Lines) -> Result<Affine> {
    let weight = weight.contiguous()?;
    Ok(Affine::new(&Flat::<f32>::of(&weight)?, before, after))
}

impl MergedNextVlad {
    /// Works out `weights`, which are f32 on the CPU.
    pub(super) fn new(config: &NextVladConfig, weights: &Weights) -> Result<Self> {
        let layout = Layout::of(config);
        layout.check(weights)?;
        let scale_is_f32 = weights.buffers.iter().all(|buffer| buffer.dtype() == DType::F32);
        if !scale_is_f32 || weights.device().is_some_and(|device| !device.is_cpu()) {
            candle_core::bail!("products of bf16 operands need f32 weights and the kernels of the CPU");
        }
        let parameters = weights.parameters.iter().map(Var::as_detached_tensor).collect();
        let tensors = Fetch { parameters, buffers: &weights.buffers };
        let epsilon = config.norm_epsilon;
        let mut before_hidden = Lines { scale: Vec::new(), shift: Vec::new() };
        let mut branches = Vec::with_capacity(2);
        for places in &layout.branches {
            let lines = match places.side {
                Side::Rgb => Codes::lines(config.rgb_size, 0.0, Some(&tensors[layout.rgb_scale]))?,
                Side::Audio => Codes::lines(config.audio_size, AUDIO_OFFSET, None)?,
            };
            let running = (&tensors[places.assign_norm.mean], &tensors[places.assign_norm.variance]);
            branches.push(Merged::new(&places.branch(&tensors, epsilon), &lines, running, config.l2_norm)?);
            let lines = norm(&tensors, &places.vlad_norm, epsilon)?;
            before_hidden.scale.extend(lines.scale);
            before_hidden.shift.extend(lines.shift);
        }
        if config.dropout == DropoutMode::DownscaleInEval {
            let kept = 1.0 - config.drop_rate;
            before_hidden.scale.iter_mut().chain(&mut before_hidden.shift).for_each(|value| *value *= kept);
        }
        let head = &layout.head;
        let (hidden, gate1) =
            (norm(&tensors, &head.hidden_norm, epsilon)?, norm(&tensors, &head.gate1_norm, epsilon)?);
        let (width, reduced) = (hidden.scale.len(), gate1.scale.len());
        let audio = branches.pop();
        let (Some(rgb), Some(audio)) = (branches.pop(), audio) else {
            candle_core::bail!("a NeXtVLAD has two modalities");
        };
        Ok(Self {
            config: config.clone(),
            rgb,
            audio,
            hidden: affine(&tensors[head.hidden], &before_hidden, &hidden)?,
            gate1: affine(&tensors[head.gate1], &Lines::identity(width), &gate1)?,
            gate2: affine(&tensors[head.gate2], &Lines::identity(reduced), &Lines::identity(width))?,
            classifier: affine(
                &tensors[head.classifier_weight],
                &Lines::identity(width),
                &Lines::shift(to_f64(&tensors[head.classifier_bias])?),
            )?,
        })
    }

    /// The joined descriptors of all videos, [B, ΣDK].
    fn descriptors(&self, batch: &DeviceBatch) -> Result<Vec<f32>> {
        let (rgb, audio) = (batch.rgb.contiguous()?, batch.audio.contiguous()?);
        let (rgb, audio) = (Flat::<u8>::of(&rgb)?, Flat::<u8>::of(&audio)?);
        let (rgb, audio) = (&*rgb, &*audio);
        let starts = batch.lengths.iter().scan(0, |next, length| {
            let start = *next;
            *next += length;
            Some(start)
        });
        let spans: Vec<(usize, usize)> = starts.zip(batch.lengths.iter().copied()).collect();
        let (rgb_width, audio_width) = (self.rgb.descriptor(), self.audio.descriptor());
        let mut descriptors = vec![0.0; spans.len() * (rgb_width + audio_width)];
        descriptors.par_chunks_mut(rgb_width + audio_width).zip(spans).for_each(
            |(target, (start, frames))| {
                let rows = |size: usize| start * size..(start + frames) * size;
                let (rgb_target, audio_target) = target.split_at_mut(rgb_width);
                self.rgb.describe(&rgb[rows(self.config.rgb_size)], frames, rgb_target);
                self.audio.describe(&audio[rows(self.config.audio_size)], frames, audio_target);
            },
        );
        Ok(descriptors)
    }
}

impl Evaluator for MergedNextVlad {
    fn logits(&self, batch: &DeviceBatch) -> Result<Tensor> {
        self.config.check_batch(batch)?;
        let videos = batch.videos();
        let descriptors = self.descriptors(batch)?;
        let width = self.hidden.outputs();
        let mut y = self.hidden.of(Matrix::of_rows(
            &descriptors,
            videos,
            self.rgb.descriptor() + self.audio.descriptor(),
        ));
        let mut gate = self.gate1.of(Matrix::of_rows(&y, videos, width));
        // A NaN stays, so that it is found where scores are checked.
        gate.iter_mut().for_each(|gate| *gate = if *gate < 0.0 { 0.0 } else { *gate });
        let gate = self.gate2.of(Matrix::of_rows(&gate, videos, self.gate1.outputs()));
        y.iter_mut().zip(gate).for_each(|(y, gate)| *y *= sigmoid(gate));
        let logits = self.classifier.of(Matrix::of_rows(&y, videos, width));
        tensor(logits, &[videos, self.classifier.outputs()])
    }
}
