//! The weights that a fine-tuning run starts from.
//!
//! Law: every tensor is the given one, bit for bit; only a classifier for another number of classes is drawn anew, as
//! that of a fresh run would be, and the run says so.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use framewise_pipeline::context::Level;
use framewise_pipeline::{Failure, StageContext};

use crate::forward::compute_failure;
use crate::load_weights::{tensors, weights_from};
use crate::model::{Model, Weights, draw};

/// The parameters whose first dimension is the number of classes.
const CLASSIFIER: [&str; 2] = ["classifier.weight", "classifier.bias"];

/// Reads weights for `model` from a checkpoint, run directory or weights file.
///
/// # Errors
/// `NotFound` when there is nothing at `path`; `Data` when it is damaged, or a tensor is missing or has another shape in
/// more than the number of classes: the message names it and both shapes.
pub(crate) fn start(
    path: &Path,
    model: &Arc<dyn Model>,
    context: &StageContext,
    device: &Device,
) -> Result<Weights, Failure> {
    let mut named = tensors(path, &**model)?;
    if let Some(classes) = other_classes(&named, model.as_ref()) {
        for (index, spec) in model.parameters().iter().enumerate() {
            let Some((_, tensor)) = named.iter_mut().find(|(name, _)| *name == spec.name) else { continue };
            if CLASSIFIER.contains(&spec.name.as_str()) {
                let fresh = draw(spec, index, context.seed, device, DType::F32);
                let fresh = fresh.map_err(|e| compute_failure("drawing the classifier", &e))?;
                *tensor = fresh.as_detached_tensor();
            }
        }
        context.message(
            Level::Warning,
            format!(
                "{}: weights for {classes} classes, this model has {}: {} are drawn from the seed, all else is taken over",
                path.display(),
                model.classes(),
                CLASSIFIER.join(" and ")
            ),
        );
    }
    weights_from(path, named, model, device)
}

/// The number of classes of these weights, where it is the one thing in which their classifier differs.
fn other_classes(named: &[(String, Tensor)], model: &dyn Model) -> Option<usize> {
    let specs = model.parameters();
    let mut found = None;
    for name in CLASSIFIER {
        let spec = specs.iter().find(|spec| spec.name == name)?;
        let (_, tensor) = named.iter().find(|(other, _)| other == name)?;
        let (classes, rest) = tensor.dims().split_first()?;
        let same = spec.shape.get(1..) == Some(rest) && found.is_none_or(|found| found == *classes);
        if !same || spec.shape.first() != Some(&model.classes()) || *classes == model.classes() {
            return None;
        }
        found = Some(*classes);
    }
    found
}
