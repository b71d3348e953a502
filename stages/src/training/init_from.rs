//! The weights from which a run starts that was given weights.
//!
//! Law: every tensor is the given one, bit for bit. Only a classifier for another number of classes is drawn anew, as
//! in a fresh run, and the run says so.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};
use framewise_pipeline::stage::context::Level;
use framewise_pipeline::{Failure, StageContext};

use crate::failure::compute_failure;
use crate::model::{Model, Weights, draw};
use crate::model_kit::kind::ModelKind;
use crate::model_kit::weights_file::{self, tensors, weights_from};

/// Reads weights for `model` from a checkpoint, a run directory or a weights file.
///
/// # Errors
/// `NotFound` when there is nothing at `path`. `Data` when the file is damaged, when a tensor is missing, or when a
/// tensor's shape differs in more than the number of classes; the message names the tensor and both shapes.
pub(crate) fn start(
    path: &Path,
    model: &Arc<dyn Model>,
    context: &StageContext,
    device: &Device,
) -> Result<Weights, Failure> {
    let mut named = tensors(path, &**model)?;
    let classifier = ModelKind::named(model.name()).map_or(&[][..], |kind| kind.classifier);
    let shapes: Vec<_> = named.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect();
    if let Some(classes) = other_classes(&shapes, model.as_ref(), classifier) {
        for (index, spec) in model.parameters().iter().enumerate() {
            let Some((_, tensor)) = named.iter_mut().find(|(name, _)| *name == spec.name) else { continue };
            if classifier.contains(&spec.name.as_str()) {
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
                classifier.join(" and ")
            ),
        );
    }
    weights_from(path, named, model, device)
}

/// Checks the headers of the weights from which a run would start. Returns the bytes that would be read.
///
/// # Errors
/// The errors of [`start`], except those that only the tensors show.
pub(crate) fn survey(path: &Path, model: &dyn Model) -> Result<u64, Failure> {
    weights_file::survey(path, model, |shapes| {
        let classifier = ModelKind::named(model.name()).map_or(&[][..], |kind| kind.classifier);
        if other_classes(shapes, model, classifier).is_some() {
            let specs = model.parameters();
            for (name, shape) in shapes.iter_mut().filter(|(name, _)| classifier.contains(&name.as_str())) {
                let drawn = specs.iter().find(|spec| spec.name == *name);
                *shape = drawn.map_or_else(Vec::new, |spec| spec.shape.clone());
            }
        }
    })
}

/// The number of classes of these weights, if that is all in which the parameters of their `classifier` differ from the
/// model's.
fn other_classes(named: &[(String, Vec<usize>)], model: &dyn Model, classifier: &[&str]) -> Option<usize> {
    let specs = model.parameters();
    let mut found = None;
    for name in classifier {
        let spec = specs.iter().find(|spec| spec.name == *name)?;
        let (_, shape) = named.iter().find(|(other, _)| other == name)?;
        let (classes, rest) = shape.split_first()?;
        let same = spec.shape.get(1..) == Some(rest) && found.is_none_or(|found| found == *classes);
        if !same || spec.shape.first() != Some(&model.classes()) || *classes == model.classes() {
            return None;
        }
        found = Some(*classes);
    }
    found
}
