//! Weights of a checkpoint or weights file, made ready for evaluation in one precision.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use framewise_pipeline::{Failure, KeyWord as _};

use super::kind::ModelKind;
use super::weights_file;
use crate::failure::compute_failure;
use crate::model::{Arrays, Model, NextVladConfig, Precision};
use crate::store::{self, Export, ExportSource};

/// Weights that were made ready, with what their file says about them.
pub struct Exported {
    /// What the file says about itself.
    pub export: Export,
    /// What is stored.
    pub arrays: Arrays,
    /// The bytes of the file that the weights were read from.
    pub read: u64,
}

/// Makes the weights at `path` ready for evaluation in `precision`. The path is a checkpoint, a directory of checkpoints, a
/// run directory, or a weights file. A checkpoint tells its model, a weights file does not: `config` has that of a NeXtVLAD.
///
/// # Errors
/// `NotFound` (66) when there is nothing at `path`. `Data` (65) when the weights are damaged or do not fit their model.
/// `Config` (78) when the model is not known, or has no form in this precision.
pub fn export(
    path: &Path,
    precision: Precision,
    config: Option<&NextVladConfig>,
) -> Result<Exported, Failure> {
    let found = store::describe(path)?;
    if let Some(made) = found.export.as_ref().filter(|made| !made.serves_training()) {
        return Err(Failure::data(format!(
            "{}: weights that were exported for {} already: export from the checkpoint",
            path.display(),
            made.precision
        )));
    }
    let model = match (config, &found.checkpoint) {
        (Some(config), _) => {
            let model = crate::model::NextVlad::new(config.clone());
            Arc::new(model.map_err(|error| Failure::config(error.to_string()))?) as Arc<dyn Model>
        }
        (None, Some(checkpoint)) => described(path, &checkpoint.model)?,
        (None, None) => {
            return Err(Failure::config(format!(
                "{}: a weights file does not tell its model: name its configuration by --model, or export from the \
                 checkpoint",
                path.display()
            )));
        }
    };
    let model = model.in_precision(precision).map_err(Failure::config)?;
    let weights = weights_file::read(path, &model, &Device::Cpu)?;
    let arrays =
        model.export(&weights).map_err(|error| compute_failure("making the weights ready", &error))?;
    let source = found.checkpoint.and_then(|checkpoint| {
        let weights = *checkpoint.files.get("weights.safetensors")?;
        let (step, epoch, samples) = (checkpoint.step, checkpoint.epoch, checkpoint.samples);
        Some(ExportSource { step, epoch, samples, weights })
    });
    let read = found.weights.iter().map(|tensor| 4 * tensor.elements()).sum();
    Ok(Exported { export: Export::new(model.describe(), precision.word(), source), arrays, read })
}

/// The model that a checkpoint describes.
fn described(path: &Path, description: &serde_json::Value) -> Result<Arc<dyn Model>, Failure> {
    let unknown = |why: String| Failure::data(format!("{}: the checkpoint's model: {why}", path.display()));
    let name = description["name"].as_str().unwrap_or_default();
    let kind = ModelKind::named(name).ok_or_else(|| unknown(format!("`{name}` is none of this version")))?;
    let table = toml::Table::try_from(&description["config"]).map_err(|error| unknown(error.to_string()))?;
    let configured = (kind.config.of_table)(table)
        .ok_or_else(|| unknown("its configuration is not one of this version".to_owned()))?;
    configured.model.map_err(|problems| unknown(problems.join("; ")))
}
