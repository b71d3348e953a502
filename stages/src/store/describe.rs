//! What a checkpoint or weights file holds, told from its manifest and headers: no tensor is read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::catalog;
use super::error::StoreError;
use super::manifest::{FileInfo, GRAPH, MOMENTS, Manifest, WEIGHTS, read_listed};
use super::tensors::{TensorInfo, read_infos};

/// Endings of tensors that are stored with the weights but not trained.
const BUFFERS: [&str; 3] = [".running_mean", ".running_var", ".rgb_scale"];

/// What is stored at a path.
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    /// The checkpoint directory or weights file.
    pub path: PathBuf,
    /// Bytes of the files described.
    pub bytes: u64,
    /// `None` for a bare weights file.
    pub checkpoint: Option<CheckpointInfo>,
    /// The weights, by name.
    pub weights: Vec<TensorInfo>,
    /// The optimizer's moments, by name; empty for a bare weights file.
    pub moments: Vec<TensorInfo>,
}

/// What a checkpoint says about itself.
#[derive(Debug, Clone, Serialize)]
pub struct CheckpointInfo {
    /// Layout of the directory.
    pub format: u32,
    /// The version that wrote it.
    pub framewise: String,
    /// Steps done.
    pub step: u64,
    /// Epoch of the next example.
    pub epoch: u64,
    /// Examples seen.
    pub samples: u64,
    /// Updates of the optimizer.
    pub updates: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Where the data goes on.
    pub cursor: Value,
    /// Configuration of the model.
    pub model: Value,
    /// Text of the resolved graph.
    pub graph: String,
    /// Metrics written with it or recorded later.
    pub metrics: BTreeMap<String, f64>,
    /// Files with sizes and checksums.
    pub files: BTreeMap<String, FileInfo>,
}

impl Description {
    /// Trained parameters: elements of all weights but running statistics and the input scale.
    pub fn parameter_count(&self) -> u64 {
        let trained = |tensor: &&TensorInfo| !BUFFERS.iter().any(|ending| tensor.name.ends_with(ending));
        self.weights.iter().filter(trained).map(TensorInfo::elements).sum()
    }
}

/// Describes a `.safetensors` file, or the checkpoint that [`find`](super::find) finds at `path`.
///
/// Checksums of tensors are not read: [`verify`](super::verify) does that.
pub fn describe(path: &Path) -> Result<Description, StoreError> {
    if path.is_file() {
        let bytes = fs::metadata(path).map_err(StoreError::read(path))?.len();
        let weights = read_infos(path)?;
        return Ok(Description {
            path: path.to_owned(),
            bytes,
            checkpoint: None,
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
        path,
    })
}
