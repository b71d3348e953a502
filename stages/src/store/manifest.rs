//! The manifest of a checkpoint: the state of training, and the size and checksum of every other file.
//!
//! Law: equal training gives equal bytes. The manifest therefore holds no time, no host and no path.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::StoreError;
use super::sealed;
use crate::io;

/// The layout that this version writes and reads.
pub(super) const FORMAT: u32 = 1;
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const METRICS: &str = "metrics.json";
pub(super) const WEIGHTS: &str = "weights.safetensors";
pub(super) const MOMENTS: &str = "moments.safetensors";
pub(super) const GRAPH: &str = "graph.toml";
/// The files that a manifest must list.
pub(super) const FILES: [&str; 3] = [GRAPH, MOMENTS, WEIGHTS];

/// The size and checksum of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileInfo {
    /// The length in bytes.
    pub bytes: u64,
    /// The CRC-32C (Castagnoli) of the file's bytes.
    pub crc32c: u32,
}

/// The content of `manifest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// The version of Framewise that wrote the checkpoint.
    pub(super) framewise: String,
    pub(super) step: u64,
    pub(super) epoch: u64,
    pub(super) samples: u64,
    pub(super) updates: u64,
    pub(super) seed: u64,
    pub(super) cursor: Value,
    pub(super) model: Value,
    pub(super) metrics: BTreeMap<String, Option<f64>>,
    pub(super) files: BTreeMap<String, FileInfo>,
}

/// The content of `metrics.json`: the metrics that became known after the checkpoint was written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LaterMetrics {
    pub(super) metrics: BTreeMap<String, Option<f64>>,
}

impl Manifest {
    /// Reads the manifest of a checkpoint directory.
    pub(super) fn read(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(MANIFEST);
        let bytes = read_listed(&path)?;
        // The format is looked at first, because another format may have other keys.
        let value: Value = sealed::open(&bytes, &path)?;
        if value["format"] != FORMAT {
            let why = format!("checkpoint format {}; this version reads {FORMAT}", value["format"]);
            return Err(StoreError::format(&path, why));
        }
        let manifest: Self =
            serde_json::from_value(value).map_err(|e| StoreError::format(&path, e.to_string()))?;
        for file in FILES {
            if !manifest.files.contains_key(file) {
                return Err(StoreError::format(&path, format!("lists no {file}")));
            }
        }
        Ok(manifest)
    }

    /// Checks that all files are there at their full length, without reading them.
    pub(super) fn check_lengths(&self, directory: &Path) -> Result<(), StoreError> {
        for (name, info) in &self.files {
            let path = directory.join(name);
            check_length(&path, info.bytes)?;
        }
        Ok(())
    }

    /// The metrics that were written with the checkpoint or recorded later. Later ones replace earlier ones.
    pub(super) fn all_metrics(&self, directory: &Path) -> Result<BTreeMap<String, f64>, StoreError> {
        let later = LaterMetrics::read(directory)?;
        let metrics = self.metrics.iter().chain(&later.metrics);
        Ok(metrics.map(|(name, value)| (name.clone(), value.unwrap_or(f64::NAN))).collect())
    }
}

impl LaterMetrics {
    /// Reads `metrics.json`. When there is no such file, no metrics are known.
    pub(super) fn read(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(METRICS);
        match io::read(&path).map_err(StoreError::read(&path)) {
            Ok(bytes) => sealed::open(&bytes, &path),
            Err(StoreError::Missing { .. }) => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }
}

/// Writes NaN and infinities as null, because JSON does not have them.
pub(super) fn json_metrics(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, Option<f64>> {
    metrics.iter().map(|(name, &value)| (name.clone(), value.is_finite().then_some(value))).collect()
}

/// Checks that a file of a checkpoint has the length that the manifest says.
pub(super) fn check_length(path: &Path, expected: u64) -> Result<(), StoreError> {
    let found = match io::kind_and_length(path).map_err(StoreError::read(path)) {
        Ok((_, length)) => length,
        Err(StoreError::Missing { .. }) => return Err(StoreError::damaged(path, "missing")),
        Err(error) => return Err(error),
    };
    if found == expected {
        return Ok(());
    }
    Err(StoreError::damaged(path, format!("{found} bytes, should be {expected}")))
}

/// Reads a file that must be there. Without it, the directory is damaged.
pub(super) fn read_listed(path: &Path) -> Result<Vec<u8>, StoreError> {
    match io::read(path).map_err(StoreError::read(path)) {
        Err(StoreError::Missing { .. }) => Err(StoreError::damaged(path, "missing")),
        other => other,
    }
}

/// Compares the size and checksum of a file with those in the manifest.
pub(super) fn check_content(path: &Path, found: FileInfo, expected: FileInfo) -> Result<(), StoreError> {
    if found.bytes != expected.bytes {
        return Err(StoreError::damaged(
            path,
            format!("{} bytes, should be {}", found.bytes, expected.bytes),
        ));
    }
    if found.crc32c != expected.crc32c {
        let why = format!("checksum {:08x}, should be {:08x}", found.crc32c, expected.crc32c);
        return Err(StoreError::damaged(path, why));
    }
    Ok(())
}
