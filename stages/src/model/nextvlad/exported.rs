//! NeXtVLAD's weights for evaluation in whole numbers: as named arrays, and as a model of which they are a part.
//!
//! Law: a model that was exported gives the same bits as the evaluation of the weights of which it was made.
//!
//! A map `NAME` is stored as `NAME.weight` (I8 [out, in]; with two planes the high one), `NAME.weight_low` (the low one, if
//! there are two), `NAME.scale` and `NAME.constant` (F32 [out]). The lines of the hidden layer's inputs are
//! `hidden.input_scale` and `hidden.input_shift` (F32 [in]). The maps `rgb.expand`, `rgb.assign` and those of `audio` take
//! codes less 128, and `rgb.centers` is F32 [K, D].

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Result, Tensor};
use serde_json::Value;

use super::config::NextVladConfig;
use super::layout::{Side, Sizes};
use super::merged::{Maps, MergedNextVlad};
use crate::kernels::backend::Kernels;
use crate::kernels::cpu::affine::{FloatLines, Input, WholeMap};
use crate::kernels::cpu::vlad::merged::BranchMaps;
use crate::kernels::flat::{Flat, tensor};
use crate::kernels::int8::{Planes, WholeWeights};
use crate::kernels::precision::Precision;
use crate::model::batch::DeviceBatch;
use crate::model::definition::{
    BatchMoments, BufferSpec, Evaluator, Model, ParameterSpec, TrainForward, Weights,
};
use crate::model::dropout::Dropout;
use crate::model::exported::{Array, Arrays};
use crate::model::loss;

/// The keys of a configuration that have no effect on an evaluation.
const FOR_TRAINING: [&str; 7] = [
    "max_frames",
    "norm_momentum",
    "pad_to",
    "loss",
    "gate_variance",
    "centers_fan_in",
    "running_statistics",
];

/// The arrays of maps.
pub(super) fn to_arrays(config: &NextVladConfig, maps: &Maps<WholeMap>) -> Result<Arrays> {
    let mut arrays = Vec::new();
    for (side, branch) in [(Side::Rgb, &maps.rgb), (Side::Audio, &maps.audio)] {
        let (name, sizes) = (side.name(), Sizes::of(config, side));
        put(&mut arrays, &format!("{name}.expand"), &branch.expand)?;
        put(&mut arrays, &format!("{name}.assign"), &branch.assign)?;
        let centers = tensor(branch.centers.clone(), &[sizes.clusters, sizes.width])?;
        arrays.push((format!("{name}.centers"), Array::Float(centers)));
    }
    let head = [&maps.hidden, &maps.gate1, &maps.gate2, &maps.classifier];
    for (name, map) in ["hidden", "gate1", "gate2", "classifier"].into_iter().zip(head) {
        put(&mut arrays, name, map)?;
    }
    Ok(arrays)
}

/// Adds the arrays of one map.
fn put(arrays: &mut Arrays, name: &str, map: &WholeMap) -> Result<()> {
    let shape = vec![map.constants.len(), map.weights.inputs()];
    for (ending, values) in ["weight", "weight_low"].into_iter().zip(map.weights.bytes()) {
        arrays.push((format!("{name}.{ending}"), Array::I8 { shape: shape.clone(), values }));
    }
    let mut floats = vec![("scale", &map.weights.scales), ("constant", &map.constants)];
    if let Some(lines) = &map.before {
        floats.extend([("input_scale", &lines.scale), ("input_shift", &lines.shift)]);
    }
    for (ending, values) in floats {
        let values = tensor(values.clone(), &[values.len()])?;
        arrays.push((format!("{name}.{ending}"), Array::Float(values)));
    }
    Ok(())
}

/// Arrays by name, of which each is taken once.
struct Taking {
    arrays: BTreeMap<String, Array>,
    planes: Planes,
}

impl Taking {
    /// Takes an array of this shape.
    fn take(&mut self, name: &str, shape: &[usize]) -> std::result::Result<Array, String> {
        let array = self.arrays.remove(name).ok_or_else(|| format!("tensor `{name}` is missing"))?;
        if array.shape() == shape {
            return Ok(array);
        }
        Err(format!("tensor `{name}` has the shape {:?}, the model's has {shape:?}", array.shape()))
    }

    fn floats(&mut self, name: &str, shape: &[usize]) -> std::result::Result<Vec<f32>, String> {
        let Array::Float(tensor) = self.take(name, shape)? else {
            return Err(format!("tensor `{name}` is of whole numbers"));
        };
        let read = || -> Result<Vec<f32>> {
            let tensor = tensor.contiguous()?;
            Ok(Flat::<f32>::of(&tensor)?.to_vec())
        };
        let values = read().map_err(|error| format!("tensor `{name}`: {error}"))?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(place) => {
                Err(format!("tensor `{name}` is not finite: element {place} is {}", values[place]))
            }
            None => Ok(values),
        }
    }

    fn bytes(&mut self, name: &str, shape: &[usize]) -> std::result::Result<Vec<i8>, String> {
        match self.take(name, shape)? {
            Array::I8 { values, .. } => Ok(values),
            Array::Float(tensor) => Err(format!("tensor `{name}` is {:?} and not I8", tensor.dtype())),
        }
    }

    fn map(
        &mut self,
        name: &str,
        (outputs, inputs): (usize, usize),
        input: Input,
        has_lines: bool,
    ) -> std::result::Result<WholeMap, String> {
        let shape = [outputs, inputs];
        let high = self.bytes(&format!("{name}.weight"), &shape)?;
        let low = match self.planes {
            Planes::One => None,
            Planes::Two => Some(self.bytes(&format!("{name}.weight_low"), &shape)?),
        };
        let weights =
            WholeWeights::of_bytes(&high, low.as_deref(), self.floats(&format!("{name}.scale"), &[outputs])?);
        let constants = self.floats(&format!("{name}.constant"), &[outputs])?;
        let before = match has_lines {
            true => Some(FloatLines {
                scale: self.floats(&format!("{name}.input_scale"), &[inputs])?,
                shift: self.floats(&format!("{name}.input_shift"), &[inputs])?,
            }),
            false => None,
        };
        Ok(WholeMap { input, before, weights, constants })
    }

    fn branch(
        &mut self,
        config: &NextVladConfig,
        side: Side,
    ) -> std::result::Result<BranchMaps<WholeMap>, String> {
        let (name, sizes) = (side.name(), Sizes::of(config, side));
        let logits = sizes.groups * sizes.clusters + sizes.groups;
        Ok(BranchMaps {
            expand: self.map(
                &format!("{name}.expand"),
                (sizes.expanded, sizes.input),
                Input::Codes,
                false,
            )?,
            assign: self.map(&format!("{name}.assign"), (logits, sizes.input), Input::Codes, false)?,
            centers: self.floats(&format!("{name}.centers"), &[sizes.clusters, sizes.width])?,
        })
    }
}

/// The maps that arrays hold.
fn of_arrays(
    config: &NextVladConfig,
    arrays: Arrays,
    planes: Planes,
) -> std::result::Result<Maps<WholeMap>, String> {
    let mut taking = Taking { arrays: arrays.into_iter().collect(), planes };
    let descriptors = Side::BOTH.map(|side| Sizes::of(config, side).descriptor()).iter().sum();
    let (hidden, gate) = (config.hidden, config.hidden / config.gating_reduction);
    let maps = Maps {
        rgb: taking.branch(config, Side::Rgb)?,
        audio: taking.branch(config, Side::Audio)?,
        hidden: taking.map("hidden", (hidden, descriptors), Input::Numbers, true)?,
        gate1: taking.map("gate1", (gate, hidden), Input::Numbers, false)?,
        gate2: taking.map("gate2", (hidden, gate), Input::Numbers, false)?,
        classifier: taking.map("classifier", (config.classes, hidden), Input::Numbers, false)?,
    };
    match taking.arrays.first_key_value() {
        Some((name, array)) => Err(format!("tensor `{name}` {:?} is none of the model's", array.shape())),
        None => Ok(maps),
    }
}

/// Checks that the descriptions of two models have one configuration, as far as evaluation depends on it.
pub(super) fn check(ours: &Value, theirs: &Value) -> std::result::Result<(), String> {
    let (Some(ours), Some(theirs)) = (ours["config"].as_object(), theirs["config"].as_object()) else {
        return Err("the weights do not tell the configuration of their model".to_owned());
    };
    let keys = ours.iter().filter(|(key, _)| !FOR_TRAINING.contains(&key.as_str()));
    let different = keys.filter_map(|(key, ours)| match theirs.get(key) {
        Some(theirs) if theirs == ours => None,
        Some(theirs) => Some(format!("{key} = {theirs} of the weights is not {key} = {ours} of the graph")),
        None => Some(format!("the weights do not tell their {key}, which is {ours} in the graph")),
    });
    let different: Vec<String> = different.collect();
    if different.is_empty() { Ok(()) } else { Err(different.join("; ")) }
}

/// A NeXtVLAD whose weights are a part of it.
pub(super) struct ExportedNextVlad {
    config: NextVladConfig,
    precision: Precision,
    planes: Planes,
    maps: Maps<WholeMap>,
}

impl ExportedNextVlad {
    /// The model with the weights in `arrays`.
    pub(super) fn new(
        config: &NextVladConfig,
        precision: Precision,
        planes: Planes,
        arrays: Arrays,
    ) -> std::result::Result<Self, String> {
        Ok(Self { config: config.clone(), precision, planes, maps: of_arrays(config, arrays, planes)? })
    }
}

impl std::fmt::Debug for ExportedNextVlad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportedNextVlad").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Model for ExportedNextVlad {
    fn name(&self) -> &'static str {
        "nextvlad"
    }

    fn describe(&self) -> Value {
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
        Vec::new()
    }

    fn buffers(&self) -> Vec<BufferSpec> {
        Vec::new()
    }

    fn forward_train(&self, _: &Weights, _: &DeviceBatch, _: &Dropout) -> Result<TrainForward> {
        candle_core::bail!("exported weights are for evaluation and prediction alone")
    }

    fn forward_eval(&self, weights: &Weights, batch: &DeviceBatch) -> Result<Tensor> {
        match self.evaluator(weights)? {
            Some(evaluator) => evaluator.logits(batch),
            None => candle_core::bail!("exported weights have an evaluator"),
        }
    }

    fn evaluator(&self, _: &Weights) -> Result<Option<Box<dyn Evaluator>>> {
        Ok(Some(Box::new(MergedNextVlad::exported(&self.config, &self.maps, self.planes))))
    }

    fn exported(&self) -> Option<Precision> {
        Some(self.precision)
    }

    fn loss(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        loss::loss(logits, labels, self.config.loss, Kernels::Auto.on(logits.device()))
    }

    fn fold_moments(&self, _: &Weights, _: &[&BatchMoments]) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }
}

/// The model with the weights in `arrays`, as one that is shared.
pub(super) fn model_of(
    config: &NextVladConfig,
    precision: Precision,
    arrays: Arrays,
) -> std::result::Result<Arc<dyn Model>, String> {
    let planes = precision.planes().ok_or("weights of this precision are those of any file")?;
    Ok(Arc::new(ExportedNextVlad::new(config, precision, planes, arrays)?))
}
