//! A description of a checkpoint or a weights file, made from its manifest and headers. No tensor is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::catalog;
use super::error::StoreError;
use super::exported::Export;
use super::manifest::{FileInfo, GRAPH, MOMENTS, Manifest, WEIGHTS, read_listed};
use super::tensors::{TensorInfo, read_infos};
use crate::io;

/// The endings of the names of tensors that are stored with the weights but not trained.
const BUFFERS: [&str; 3] = [".running_mean", ".running_var", ".rgb_scale"];

/// The description of what is stored at a path.
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    /// The checkpoint directory or weights file.
    pub path: PathBuf,
    /// The bytes of the files that are described.
    pub bytes: u64,
    /// The checkpoint's own data; `None` for a bare weights file.
    pub checkpoint: Option<CheckpointInfo>,
    /// What exported weights say about themselves.
    pub export: Option<Export>,
    /// The weights, by name.
    pub weights: Vec<TensorInfo>,
    /// The optimizer's moments, by name. Empty for a bare weights file.
    pub moments: Vec<TensorInfo>,
}

/// What a checkpoint says about itself.
#[derive(Debug, Clone, Serialize)]
pub struct CheckpointInfo {
    /// The layout of the directory.
    pub format: u32,
    /// The version of Framewise that wrote the checkpoint.
    pub framewise: String,
    /// The number of steps done.
    pub step: u64,
    /// The epoch of the next example.
    pub epoch: u64,
    /// The number of examples seen.
    pub samples: u64,
    /// The number of updates of the optimizer.
    pub updates: u64,
    /// Seed of the run.
    pub seed: u64,
    /// The place at which the data continue.
    pub cursor: Value,
    /// Configuration of the model.
    pub model: Value,
    /// Text of the resolved graph.
    pub graph: String,
    /// The metrics that were written with the checkpoint or recorded later.
    pub metrics: BTreeMap<String, f64>,
    /// The files, with their sizes and checksums.
    pub files: BTreeMap<String, FileInfo>,
}

impl Description {
    /// The number of trained parameters: the elements of all weights except running statistics and the input scale.
    pub fn parameter_count(&self) -> u64 {
        let trained = |tensor: &&TensorInfo| !BUFFERS.iter().any(|ending| tensor.name.ends_with(ending));
        self.weights.iter().filter(trained).map(TensorInfo::elements).sum()
    }
}

/// Describes a `.safetensors` file, or the checkpoint that [`find`](super::find) finds at `path`.
///
/// Checksums of tensors are not verified here; [`verify`](super::verify) does that.
pub fn describe(path: &Path) -> Result<Description, StoreError> {
    if path.is_file() {
        let (_, bytes) = io::kind_and_length(path).map_err(StoreError::read(path))?;
        let weights = read_infos(path).map_err(|error| error.alone(path))?;
        return Ok(Description {
            path: path.to_owned(),
            bytes,
            checkpoint: None,
            export: Export::of_file(path)?,
            weights,
            moments: Vec::new(),
        });
    }
    let path = catalog::find(path)?.path;
    let manifest = Manifest::read(&path)?;
    manifest.check_lengths(&path)?;
    let graph = path.join(GRAPH);
    let text = String::from_utf8(read_listed(&graph)?);
    let checkpoint = CheckpointInfo {
        format: manifest.format,
        step: manifest.step,
        epoch: manifest.epoch,
        samples: manifest.samples,
        updates: manifest.updates,
        seed: manifest.seed,
        metrics: manifest.all_metrics(&path)?,
        graph: text.map_err(|_| StoreError::damaged(&graph, "not UTF-8"))?,
        framewise: manifest.framewise,
        cursor: manifest.cursor,
        model: manifest.model,
        files: manifest.files,
    };
    Ok(Description {
        bytes: checkpoint.files.values().map(|file| file.bytes).sum(),
        weights: read_infos(&path.join(WEIGHTS))?,
        moments: read_infos(&path.join(MOMENTS))?,
        checkpoint: Some(checkpoint),
        export: None,
        path,
    })
}
