//! Weights for a model from a checkpoint, a run directory or a weights file.
//!
//! Law: a tensor that is missing or has another shape is an error that names the tensor and both shapes.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use framewise_pipeline::stage::config::{KeyValue as _, Value};
use framewise_pipeline::{Failure, KeyWord as _, StageContext};

use super::{culprit, not_weights};
use crate::failure::{compute_failure, read_failure};
use crate::import::Format;
use crate::io;
use crate::model::{Model, Precision, Weights, check_fit};
use crate::payload::WeightsVersion;
use crate::store::{self, Export};

/// Weights that the caller of a run hands to its `load_weights` stage in place of a file. An evaluation inside a
/// training run gets its weights in this way.
#[derive(Debug, Clone)]
pub struct InjectedWeights(pub WeightsVersion);

/// The place in training at which the weights of a run were written. Most bare weights files do not tell it, so it is 0
/// there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WrittenAfter {
    /// The number of steps.
    pub(crate) step: u64,
    /// The epoch, counted from 0.
    pub(crate) epoch: u64,
}

impl WrittenAfter {
    /// The place at which the weights at `path` were written.
    ///
    /// # Errors
    /// The errors of [`read`] for a checkpoint or a run directory.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        if path.is_file() {
            let source = Export::of_file(path)?.and_then(|export| export.source);
            return Ok(source.map_or_else(Self::default, |s| Self { step: s.step, epoch: s.epoch }));
        }
        let checkpoint = store::describe(path)?.checkpoint;
        Ok(checkpoint.map_or_else(Self::default, |c| Self { step: c.step, epoch: c.epoch }))
    }

    /// The place for the weights of this run.
    pub(crate) fn in_run(context: &StageContext) -> Self {
        context.resources.get::<Self>().map_or_else(Self::default, |written| *written)
    }
}

/// Reads weights for `model` from a checkpoint, a run directory or a weights file.
///
/// # Errors
/// `NotFound` (exit code 66) when there is nothing at `path`. `Data` (exit code 65) when the file is damaged or does
/// not fit the model.
pub(crate) fn read(path: &Path, model: &Arc<dyn Model>, device: &Device) -> Result<Weights, Failure> {
    if let Some(evaluated) = Evaluated::of(path, &**model)? {
        check_kind(path, &**model)?;
        evaluated.check(path)?;
        let model = evaluated.model.of_export(store::load_export(path)?);
        let model = model.map_err(|why| Failure::data(format!("{}: {why}", path.display())))?;
        return Ok(Weights { model, parameters: Vec::new(), buffers: Vec::new() });
    }
    weights_from(path, tensors(path, &**model)?, model, device)
}

/// The file of the weights at `path`, with its bytes and their CRC-32C.
///
/// # Errors
/// `NotFound` when there is nothing at `path`. `Io` when the file cannot be read to its end.
pub(crate) fn checksum(path: &Path) -> Result<(PathBuf, u64, u32), Failure> {
    let file = if path.is_file() { path.to_owned() } else { store::weights_of(path)? };
    let failed = |e: std::io::Error| read_failure(&file, &e);
    let mut reader = io::open(&file).map_err(failed)?.reader;
    let (mut bytes, mut crc) = (0, 0);
    let mut piece = vec![0; 1 << 20];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok((file, bytes, crc)),
            Ok(read) => {
                bytes += read as u64;
                crc = crc32c::crc32c_append(crc, &piece[..read]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Makes weights for `model` from tensors that were read from `path`.
///
/// # Errors
/// `Data` (exit code 65) when a tensor is missing, has another shape or holds a number that is not finite.
pub(crate) fn weights_from(
    path: &Path,
    tensors: Vec<(String, Tensor)>,
    model: &Arc<dyn Model>,
    device: &Device,
) -> Result<Weights, Failure> {
    let weights = Weights::from_named(model.clone(), tensors, device, DType::F32)
        .map_err(|e| Failure::data(format!("{}: {e}", path.display())))?;
    match culprit::in_weights(&weights) {
        Ok(None) => Ok(weights),
        Ok(Some(culprit)) => {
            Err(Failure::data(format!("{}: the weights are not finite: {culprit}", path.display())))
        }
        Err(error) => Err(compute_failure("checking the weights", &error)),
    }
}

/// Reads the tensors of a checkpoint, a run directory or a weights file, by name.
///
/// # Errors
/// The errors of [`read`]. A checkpoint of another model than `model` is refused. For a file that
/// `framewise import` reads, the error points to that command.
pub(crate) fn tensors(path: &Path, model: &dyn Model) -> Result<Vec<(String, Tensor)>, Failure> {
    check_kind(path, model)?;
    if let Some(Evaluated { export, .. }) = Evaluated::of(path, model)? {
        return Err(Failure::data(format!(
            "{}: weights for evaluation in {}, from which no training starts: name the checkpoint that they were made of",
            path.display(),
            export.precision
        )));
    }
    Ok(store::load_weights(path)?)
}

/// Checks the names and shapes of the tensors of a checkpoint, a run directory or a weights file, from its headers. No
/// tensor is read. `adapt` may change the shapes first, as fine-tuning does. Returns the bytes that would be read.
///
/// # Errors
/// The errors of [`read`], except those that only the tensors show.
pub(crate) fn survey(
    path: &Path,
    model: &dyn Model,
    adapt: impl FnOnce(&mut Vec<(String, Vec<usize>)>),
) -> Result<u64, Failure> {
    check_kind(path, model)?;
    let found = store::describe(path)?;
    if let Some(evaluated) = Evaluated::of(path, model)? {
        evaluated.check(path)?;
        return Ok(found.bytes);
    }
    let mut shapes = found.weights.into_iter().map(|info| (info.name, info.shape)).collect();
    adapt(&mut shapes);
    check_fit(model, shapes).map_err(|e| Failure::data(format!("{}: {e}", path.display())))?;
    Ok(found.bytes)
}

/// Refuses what is no weights file, and a checkpoint of another model.
fn check_kind(path: &Path, model: &dyn Model) -> Result<(), Failure> {
    not_weights::refuse(path)?;
    // A path that cannot be looked at is reported by `load_weights`.
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
    Ok(())
}

/// The name of the model that a checkpoint or exported weights belong to. `None` for other weights files, which do not
/// say.
fn stored_model(path: &Path) -> Result<Option<String>, Failure> {
    let model = if path.is_file() {
        Export::of_file(path)?.map(|export| export.model)
    } else {
        store::describe(path)?.checkpoint.map(|checkpoint| checkpoint.model)
    };
    Ok(model.and_then(|model| model.get("name").and_then(|name| name.as_str()).map(str::to_owned)))
}

/// A file of weights for evaluation alone.
struct Evaluated {
    /// What the file says about itself.
    export: Export,
    /// The model in the precision of the weights.
    model: Arc<dyn Model>,
}

impl Evaluated {
    /// Looks at the file at `path`. `None` for weights from which training can start.
    fn of(path: &Path, model: &dyn Model) -> Result<Option<Self>, Failure> {
        if !path.is_file() || !matches!(Format::of_file(path), Ok(Some(Format::Safetensors))) {
            return Ok(None);
        }
        let Some(export) = Export::of_file(path)? else { return Ok(None) };
        let wrong = |why: String| Failure::data(format!("{}: {why}", path.display()));
        let Some(precision) = Precision::from_value(&Value::from(export.precision.as_str())) else {
            return Err(wrong(format!(
                "weights in `{}`, which this version does not know",
                export.precision
            )));
        };
        if precision.trains() {
            return Ok(None);
        }
        Ok(Some(Self { model: model.in_precision(precision).map_err(wrong)?, export }))
    }

    /// Checks that an evaluation by the model is that of the weights at `path`.
    fn check(&self, path: &Path) -> Result<(), Failure> {
        let misfit = |why: String| Failure::data(format!("{}: {why}", path.display()));
        self.model.check_export(&self.export.model).map_err(misfit)
    }
}

/// Refuses weights of another kind of model. Their tensors may have the same names.
pub(crate) fn check_model(name: &str, model: &dyn Model) -> Result<(), Failure> {
    if name == model.name() {
        return Ok(());
    }
    Err(Failure::config(format!(
        "the weights belong to model `{name}`, the graph's model is `{}`",
        model.name()
    )))
}

/// Refuses a file of weights that were exported for evaluation in another precision. Only its header is read. What else may
/// be wrong with it, [`survey`] tells.
///
/// # Errors
/// `Config` (exit code 78).
pub(crate) fn check_precision(path: &Path, precision: Precision) -> Result<(), Failure> {
    if !path.is_file() || !matches!(Format::of_file(path), Ok(Some(Format::Safetensors))) {
        return Ok(());
    }
    match Export::of_file(path) {
        Ok(Some(export)) if !export.serves_training() && export.precision != precision.word() => {
            Err(exported_for(&export.precision))
        }
        _ => Ok(()),
    }
}

/// The failure of weights that were exported for evaluation in the precision `word`, where something else is computed.
fn exported_for(word: &str) -> Failure {
    Failure::config(format!(
        "the weights were exported for evaluation in {word}: write precision = \"{word}\" and mode = \"evaluate\" in the \
         stage that computes, or load the checkpoint that they were made of"
    ))
}

/// Refuses weights that do not have the parameters and shapes of `model`.
///
/// # Errors
/// `Config` (exit code 78). The error names the model, or the first tensor that differs and both shapes.
pub(crate) fn check_shapes(model: &dyn Model, weights: &Weights) -> Result<(), Failure> {
    if let Some(precision) = weights.model.exported() {
        return Err(exported_for(precision.word()));
    }
    if weights.model.name() != model.name() {
        return Err(Failure::config(format!(
            "the weights belong to model `{}`, this stage computes `{}`",
            weights.model.name(),
            model.name()
        )));
    }
    let wanted = model.parameters();
    for (spec, tensor) in wanted.iter().zip(&weights.parameters) {
        if tensor.dims() != spec.shape {
            return Err(Failure::config(format!(
                "the weights do not fit this model: tensor `{}` is {:?}, the graph's model wants {:?}",
                spec.name,
                tensor.dims(),
                spec.shape
            )));
        }
    }
    if wanted.len() == weights.parameters.len() {
        Ok(())
    } else {
        Err(Failure::config("the weights belong to another kind of model"))
    }
}
