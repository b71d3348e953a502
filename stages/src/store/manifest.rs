//! The manifest of a checkpoint: where training stands, and the size and checksum of every other file.
//!
//! It holds no time, host or path, so equal training gives equal bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::StoreError;
use super::sealed;

/// The layout that this version writes and reads.
pub(super) const FORMAT: u32 = 1;
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const METRICS: &str = "metrics.json";
pub(super) const WEIGHTS: &str = "weights.safetensors";
pub(super) const MOMENTS: &str = "moments.safetensors";
pub(super) const GRAPH: &str = "graph.toml";
/// The files that a manifest must list.
pub(super) const FILES: [&str; 3] = [GRAPH, MOMENTS, WEIGHTS];

/// Size and checksum of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileInfo {
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32C (Castagnoli) of its bytes.
    pub crc32c: u32,
}

/// `manifest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// The version that wrote it.
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

/// `metrics.json`: metrics that became known after the checkpoint was written.
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
        // The format first: another one may have other keys.
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

    /// Checks without reading them that all files are there at their full length.
    pub(super) fn check_lengths(&self, directory: &Path) -> Result<(), StoreError> {
        for (name, info) in &self.files {
            let path = directory.join(name);
            check_length(&path, info.bytes)?;
        }
        Ok(())
    }

    /// The metrics written with the checkpoint, and over them those recorded later.
    pub(super) fn all_metrics(&self, directory: &Path) -> Result<BTreeMap<String, f64>, StoreError> {
        let later = LaterMetrics::read(directory)?;
        let metrics = self.metrics.iter().chain(&later.metrics);
        Ok(metrics.map(|(name, value)| (name.clone(), value.unwrap_or(f64::NAN))).collect())
    }
}

impl LaterMetrics {
    /// Reads `metrics.json`; none are known when there is no such file.
    pub(super) fn read(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(METRICS);
        match fs::read(&path).map_err(StoreError::read(&path)) {
            Ok(bytes) => sealed::open(&bytes, &path),
            Err(StoreError::Missing { .. }) => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }
}

/// JSON has no NaN and no infinity: null.
pub(super) fn json_metrics(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, Option<f64>> {
    metrics.iter().map(|(name, &value)| (name.clone(), value.is_finite().then_some(value))).collect()
}

/// Whether a file that belongs to a checkpoint has the length its manifest says.
pub(super) fn check_length(path: &Path, expected: u64) -> Result<(), StoreError> {
    let found = match fs::metadata(path).map_err(StoreError::read(path)) {
        Ok(metadata) => metadata.len(),
        Err(StoreError::Missing { .. }) => return Err(StoreError::damaged(path, "missing")),
        Err(error) => return Err(error),
    };
    if found == expected {
        return Ok(());
    }
    Err(StoreError::damaged(path, format!("{found} bytes, should be {expected}")))
}

/// Reads a file that must be there: without it the directory is damaged.
pub(super) fn read_listed(path: &Path) -> Result<Vec<u8>, StoreError> {
    match fs::read(path).map_err(StoreError::read(path)) {
        Err(StoreError::Missing { .. }) => Err(StoreError::damaged(path, "missing")),
        other => other,
    }
}

/// Compares what a file turned out to be with what its manifest says.
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
