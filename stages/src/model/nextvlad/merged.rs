//! NeXtVLAD in evaluation with narrow weights, as a function of batches alone: everything that depends on the weights is
//! worked out once.
//!
//! The batch norms, the scale of dropout and the step from bytes to features are part of the maps between values.

use candle_core::{DType, Result, Tensor, Var};
use framewise_pipeline::KeyWord as _;
use rayon::prelude::*;

use super::config::{DropoutMode, NextVladConfig};
use super::layout::{AUDIO_OFFSET, Fetch, Layout, NormLayout, Side, Sizes};
use crate::kernels::cpu::affine::{Affine, Input, Lines, Map, WholeMap};
use crate::kernels::cpu::vlad::frames::Codes;
use crate::kernels::cpu::vlad::merged::{BranchMaps, Merged};
use crate::kernels::flat::{Flat, tensor, to_f64};
use crate::kernels::float::sigmoid;
use crate::kernels::int8::{MAX_INPUTS, Planes};
use crate::kernels::precision::Precision;
use crate::model::batch::DeviceBatch;
use crate::model::definition::{Evaluator, Weights};

/// What is worked out of one version of the weights, with maps of some kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Maps<M> {
    pub(super) rgb: BranchMaps<M>,
    pub(super) audio: BranchMaps<M>,
    pub(super) hidden: M,
    pub(super) gate1: M,
    pub(super) gate2: M,
    pub(super) classifier: M,
}

impl Maps<WholeMap> {
    /// Works out `weights`, which are f32 on the CPU, and rounds them to whole numbers.
    pub(super) fn round(config: &NextVladConfig, weights: &Weights, planes: Planes) -> Result<Self> {
        Self::new(config, weights, |map| WholeMap::round(map, planes))
    }
}

impl<M> Maps<M> {
    /// Works out `weights`, which are f32 on the CPU. `make` makes a map.
    fn new(config: &NextVladConfig, weights: &Weights, mut make: impl FnMut(&Map) -> M) -> Result<Self> {
        let layout = Layout::of(config);
        layout.check(weights)?;
        let scale_is_f32 = weights.buffers.iter().all(|buffer| buffer.dtype() == DType::F32);
        if !scale_is_f32 || weights.device().is_some_and(|device| !device.is_cpu()) {
            candle_core::bail!("products of narrow operands need f32 weights and the kernels of the CPU");
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
            branches.push(BranchMaps::new(&places.branch(&tensors, epsilon), &lines, running, &mut make)?);
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
        let width = hidden.scale.len();
        let audio = branches.pop();
        let (Some(rgb), Some(audio)) = (branches.pop(), audio) else {
            candle_core::bail!("a NeXtVLAD has two modalities");
        };
        let mut make = |weight: &Tensor, before: Option<&Lines>, after: &Lines| -> Result<M> {
            let weight = weight.contiguous()?;
            let weight = Flat::<f32>::of(&weight)?;
            Ok(make(&Map { weight: &weight, before, after, input: Input::Numbers }))
        };
        Ok(Self {
            rgb,
            audio,
            hidden: make(&tensors[head.hidden], Some(&before_hidden), &hidden)?,
            gate1: make(&tensors[head.gate1], None, &gate1)?,
            gate2: make(&tensors[head.gate2], None, &Lines::identity(width))?,
            classifier: make(
                &tensors[head.classifier_weight],
                None,
                &Lines::shift(to_f64(&tensors[head.classifier_bias])?),
            )?,
        })
    }
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

/// What keeps a model of this size from being computed in `precision`, without a full stop.
pub(super) fn problem_in(config: &NextVladConfig, precision: Precision) -> Option<String> {
    precision.planes()?;
    let descriptors = Side::BOTH.map(|side| Sizes::of(config, side).descriptor()).iter().sum();
    let sums = [
        ("rgb_size", config.rgb_size),
        ("audio_size", config.audio_size),
        ("the width of the joined descriptors", descriptors),
        ("hidden", config.hidden),
    ];
    let (what, inputs) = sums.into_iter().find(|(_, inputs)| *inputs > MAX_INPUTS)?;
    let word = precision.word();
    Some(format!("{what} is {inputs}, and {word} adds up at most {MAX_INPUTS} products exactly"))
}

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

impl MergedNextVlad {
    /// The evaluation of `weights` in bf16.
    pub(super) fn bf16(config: &NextVladConfig, weights: &Weights) -> Result<Self> {
        Ok(Self::of(config, Maps::new(config, weights, Affine::bf16)?, true))
    }

    /// The evaluation of `weights` in whole numbers. It is that of [`Maps::round`], which is not kept.
    pub(super) fn whole(config: &NextVladConfig, weights: &Weights, planes: Planes) -> Result<Self> {
        let maps = Maps::new(config, weights, |map| Affine::whole(&WholeMap::round(map, planes)))?;
        Ok(Self::of(config, maps, planes == Planes::One))
    }

    /// The evaluation of maps that were exported.
    pub(super) fn exported(config: &NextVladConfig, maps: &Maps<WholeMap>, planes: Planes) -> Self {
        let branch = |maps: &BranchMaps<WholeMap>| BranchMaps {
            expand: Affine::whole(&maps.expand),
            assign: Affine::whole(&maps.assign),
            centers: maps.centers.clone(),
        };
        let maps = Maps {
            rgb: branch(&maps.rgb),
            audio: branch(&maps.audio),
            hidden: Affine::whole(&maps.hidden),
            gate1: Affine::whole(&maps.gate1),
            gate2: Affine::whole(&maps.gate2),
            classifier: Affine::whole(&maps.classifier),
        };
        Self::of(config, maps, planes == Planes::One)
    }

    /// The evaluation of maps.
    fn of(config: &NextVladConfig, maps: Maps<Affine>, pools_in_bf16: bool) -> Self {
        let merged = |maps: BranchMaps<Affine>, side: Side| {
            let Sizes { groups, clusters, width, .. } = Sizes::of(config, side);
            Merged { maps, groups, clusters, width, form: config.l2_norm, pools_in_bf16 }
        };
        let Maps { rgb, audio, hidden, gate1, gate2, classifier } = maps;
        let (rgb, audio) = (merged(rgb, Side::Rgb), merged(audio, Side::Audio));
        Self { config: config.clone(), rgb, audio, hidden, gate1, gate2, classifier }
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
        descriptors.par_chunks_mut(rgb_width + audio_width).zip(spans).try_for_each(
            |(target, (start, frames))| {
                let rows = |size: usize| start * size..(start + frames) * size;
                let (rgb_target, audio_target) = target.split_at_mut(rgb_width);
                self.rgb.describe(&rgb[rows(self.config.rgb_size)], frames, rgb_target)?;
                self.audio.describe(&audio[rows(self.config.audio_size)], frames, audio_target)
            },
        )?;
        Ok(descriptors)
    }
}

impl Evaluator for MergedNextVlad {
    fn logits(&self, batch: &DeviceBatch) -> Result<Tensor> {
        self.config.check_batch(batch)?;
        let videos = batch.videos();
        let descriptors = self.descriptors(batch)?;
        let mut y = self.hidden.of_numbers(&descriptors, videos);
        let mut gate = self.gate1.of_numbers(&y, videos);
        // A NaN stays, so that it is found where scores are checked.
        gate.iter_mut().for_each(|gate| *gate = if *gate < 0.0 { 0.0 } else { *gate });
        let gate = self.gate2.of_numbers(&gate, videos);
        y.iter_mut().zip(gate).for_each(|(y, gate)| *y *= sigmoid(gate));
        let logits = self.classifier.of_numbers(&y, videos);
        tensor(logits, &[videos, self.classifier.outputs()])
    }
}
