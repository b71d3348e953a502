//! `load_weights`: one version of the weights from a checkpoint or a weights file.
//!
//! Law: a tensor that is missing or has another shape is an error that names it and both shapes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use framewise_pipeline::{
    Component, ErrorKind, Failure, KeyKind, KeySpec, Output, OutputPort, Ports, Settings, Stage,
    StageContext, StageError, Wiring,
};

use crate::forward::compute_failure;
use crate::import::Format;
use crate::model::{Model, Weights};
use crate::model_kind::{ModelKind, model_keys};
use crate::nonfinite;
use crate::payload::WeightsVersion;
use crate::store::{self, StoreError};

/// The stage type.
pub(crate) struct LoadWeights;

/// Weights that the caller of a run hands to its `load_weights` stage in place of a file: an evaluation inside a
/// training run.
#[derive(Debug, Clone)]
pub struct InjectedWeights(pub WeightsVersion);

struct Loading {
    version: WeightsVersion,
    output: Output<WeightsVersion>,
}

impl Component for LoadWeights {
    fn type_name(&self) -> &'static str {
        "load_weights"
    }

    fn doc(&self) -> &'static str {
        "Reads the weights of a checkpoint, a run directory (its newest checkpoint) or a .safetensors file, checks them \
         against the model, and sends them once. Inside an `evaluate` stage it sends the weights of the training run."
    }

    fn keys(&self) -> Vec<KeySpec> {
        let mut keys = vec![
            KeySpec::new(
                "path",
                KeyKind::Path,
                "A checkpoint directory, a directory of checkpoints, a run directory, or a .safetensors file.",
            )
            .required(),
        ];
        keys.extend(model_keys());
        keys
    }

    fn ports(&self, settings: &Settings) -> Ports {
        Ports {
            inputs: vec![],
            outputs: vec![OutputPort::new::<WeightsVersion>(
                "weights",
                ModelKind::of(settings).weights(settings),
                1,
            )],
        }
    }

    fn check(&self, settings: &Settings) -> Vec<(&'static str, String)> {
        ModelKind::of(settings).check(settings)
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let model = ModelKind::of(settings).model(settings)?;
        let version = match context.resources.get::<InjectedWeights>() {
            Some(injected) => {
                check_model(injected.0.weights.model.name(), &*model)?;
                injected.0.clone()
            }
            None => {
                let path = PathBuf::from(settings.text("path"));
                let weights = read(&path, &model, &Device::Cpu)?;
                WeightsVersion { version: 0, weights: Arc::new(weights) }
            }
        };
        Ok(Box::new(Loading { version, output: wiring.output("weights")? }))
    }
}

impl Stage for Loading {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        self.output.send(self.version)
    }
}

/// Reads weights for `model` from a checkpoint, run directory or weights file.
///
/// # Errors
/// `NotFound` (66) when there is nothing at `path`; `Data` (65) when the file is damaged or does not fit the model.
pub(crate) fn read(path: &Path, model: &Arc<dyn Model>, device: &Device) -> Result<Weights, Failure> {
    weights_from(path, tensors(path, &**model)?, model, device)
}

/// Weights for `model` from tensors that were read from `path`.
///
/// # Errors
/// `Data` (65) when a tensor is missing, has another shape or holds a number that is not finite.
pub(crate) fn weights_from(
    path: &Path,
    tensors: Vec<(String, Tensor)>,
    model: &Arc<dyn Model>,
    device: &Device,
) -> Result<Weights, Failure> {
    let weights = Weights::from_named(model.clone(), tensors, device, DType::F32)
        .map_err(|e| Failure::data(format!("{}: {e}", path.display())))?;
    match nonfinite::in_weights(&weights) {
        Ok(None) => Ok(weights),
        Ok(Some(culprit)) => {
            Err(Failure::data(format!("{}: the weights are not finite: {culprit}", path.display())))
        }
        Err(error) => Err(compute_failure("checking the weights", &error)),
    }
}

/// The tensors of a checkpoint, run directory or weights file, by name.
///
/// # Errors
/// As [`read`]; a checkpoint of another model than `model` is refused, and a file that `framewise import` reads is told to go there.
pub(crate) fn tensors(path: &Path, model: &dyn Model) -> Result<Vec<(String, Tensor)>, Failure> {
    // What cannot be looked at is told by `load_weights`.
    if let Ok(Some(format @ (Format::Pickle | Format::Npz))) = Format::of_file(path) {
        return Err(Failure::data(format!(
            "{}: {}, not weights of ours: `framewise import {0} WEIGHTS.safetensors` makes such a file of it",
            path.display(),
            format.what()
        )));
    }
    if let Some(name) = stored_model(path)? {
        check_model(&name, model).map_err(|e| Failure::data(format!("{}: {e}", path.display())))?;
    }
    store::load_weights(path).map_err(store_failure)
}

/// Name of the model that a checkpoint belongs to; a bare weights file does not say.
fn stored_model(path: &Path) -> Result<Option<String>, Failure> {
    if path.is_file() {
        return Ok(None);
    }
    let checkpoint = store::describe(path).map_err(store_failure)?.checkpoint;
    Ok(checkpoint.and_then(|c| c.model.get("name").and_then(|name| name.as_str()).map(str::to_owned)))
}

/// Refuses weights of another kind of model, whose tensors may have the same names.
pub(crate) fn check_model(name: &str, model: &dyn Model) -> Result<(), Failure> {
    if name == model.name() {
        return Ok(());
    }
    Err(Failure::config(format!(
        "the weights belong to model `{name}`, the graph's model is `{}`",
        model.name()
    )))
}

/// The failure of writing or reading a checkpoint.
pub(crate) fn store_failure(error: StoreError) -> Failure {
    let kind = match &error {
        StoreError::Write { .. } => ErrorKind::CannotWrite,
        StoreError::Read { .. } => ErrorKind::Io,
        StoreError::Missing { .. } => ErrorKind::NotFound,
        StoreError::Damaged { .. } | StoreError::Format { .. } => ErrorKind::Data,
        StoreError::Tensor { .. } => ErrorKind::Internal,
    };
    Failure::new(kind, error)
}
