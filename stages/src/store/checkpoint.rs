//! Checkpoints: a checkpoint is a directory such as `step-00000540` with everything that training needs to continue bit
//! for bit.
//!
//! Laws: equal states give equal bytes in every file. A directory under its final name is complete.
//!
//! Only one process at a time writes to a directory of checkpoints. All of its threads may save.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::Value;

use super::catalog::{self, remove};
use super::error::StoreError;
use super::hashed::Hashed;
use super::manifest::{
    FORMAT, FileInfo, GRAPH, MANIFEST, MOMENTS, Manifest, WEIGHTS, check_content, json_metrics, read_listed,
};
use super::{sealed, tensors};
use crate::io::{self, hidden_name, sync_directory, sync_parent};

const BUFFER: usize = 1 << 18;

/// The state of training after a step.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The number of steps done, which names the directory.
    pub step: u64,
    /// The epoch that the next example belongs to.
    pub epoch: u64,
    /// The number of examples seen, over all epochs.
    pub samples: u64,
    /// The number of updates of the optimizer, whose bias correction counts them.
    pub updates: u64,
    /// Seed of the run.
    pub seed: u64,
    /// The place at which the data continue. It belongs to the stages that read.
    pub cursor: Value,
    /// Configuration of the model.
    pub model: Value,
    /// Text of the resolved graph.
    pub graph: String,
    /// The weights by name, with running statistics and the input scale among them.
    pub weights: Vec<(String, Tensor)>,
    /// The moments of the optimizer, by the names `first.NAME` and `second.NAME`.
    pub moments: Vec<(String, Tensor)>,
    /// The metrics that are known by now, by name. A number that is not finite is stored as null and read back as NaN.
    pub metrics: BTreeMap<String, f64>,
}

/// Saves a checkpoint below `directory`, which is created if need be, and returns its path.
///
/// Everything goes to a hidden directory first, is flushed to the disk, and is then renamed. What an earlier crash left
/// behind is removed. A checkpoint of the same step is replaced. If it holds the same bytes, it stays, with the metrics
/// that were recorded for it since.
pub fn save(directory: &Path, checkpoint: &Checkpoint) -> Result<PathBuf, StoreError> {
    let _alone = catalog::alone();
    if !directory.is_dir() {
        io::create_directories(directory).map_err(StoreError::write(directory))?;
        sync_parent(directory).map_err(StoreError::write(directory))?;
    }
    clean(directory)?;
    let target = directory.join(catalog::directory_name(checkpoint.step));
    let unfinished = Unfinished::create(&target)?;
    let manifest = write_files(&unfinished.path, &target, checkpoint)?;
    sync_directory(&unfinished.path).map_err(StoreError::write(&target))?;
    if target.symlink_metadata().is_ok() {
        if io::read(&target.join(MANIFEST)).is_ok_and(|there| there == manifest) && verify(&target).is_ok() {
            return Ok(target);
        }
        // A crash between the two renames leaves this step without a name until the next save puts it back.
        let old = hidden_name(&target, "old")?;
        fs::rename(&target, &old).map_err(StoreError::write(&target))?;
        fs::rename(&unfinished.path, &target).map_err(StoreError::write(&target))?;
        sync_directory(directory).map_err(StoreError::write(directory))?;
        remove(&old)?;
    } else {
        fs::rename(&unfinished.path, &target).map_err(StoreError::write(&target))?;
        sync_directory(directory).map_err(StoreError::write(directory))?;
    }
    Ok(target)
}

/// Loads the checkpoint that [`find`](super::find) finds at `path`, which is a checkpoint, a directory of checkpoints
/// or a run directory. Every checksum is verified. Tensors are loaded into host memory, sorted by name.
pub fn load(path: &Path) -> Result<Checkpoint, StoreError> {
    let directory = catalog::find(path)?.path;
    let manifest = Manifest::read(&directory)?;
    // This check is cheap, and finds most damage before gigabytes are read.
    manifest.check_lengths(&directory)?;
    let graph = directory.join(GRAPH);
    let text = read_listed(&graph)?;
    let info = FileInfo { bytes: text.len() as u64, crc32c: crc32c::crc32c(&text) };
    check_content(&graph, info, manifest.files[GRAPH])?;
    let text = String::from_utf8(text).map_err(|_| StoreError::damaged(&graph, "not UTF-8"))?;
    Ok(Checkpoint {
        step: manifest.step,
        epoch: manifest.epoch,
        samples: manifest.samples,
        updates: manifest.updates,
        seed: manifest.seed,
        metrics: manifest.all_metrics(&directory)?,
        weights: tensors::read(&directory.join(WEIGHTS), Some(manifest.files[WEIGHTS]))?,
        moments: tensors::read(&directory.join(MOMENTS), Some(manifest.files[MOMENTS]))?,
        cursor: manifest.cursor,
        model: manifest.model,
        graph: text,
    })
}

/// Reads every byte at `path` and compares checksums, without keeping anything. `path` is a checkpoint as in [`load`],
/// or a bare `.safetensors` file, which has no checksum and of which only the structure is checked. Returns the checked
/// files with their lengths.
pub fn verify(path: &Path) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    if path.is_file() {
        tensors::read_infos(path).map_err(|error| error.alone(path))?;
        let (_, length) = io::kind_and_length(path).map_err(StoreError::read(path))?;
        return Ok(vec![(path.to_owned(), length)]);
    }
    let directory = catalog::find(path)?.path;
    let manifest = Manifest::read(&directory)?;
    manifest.all_metrics(&directory)?;
    manifest.check_lengths(&directory)?;
    let mut checked = Vec::new();
    let mut buffer = vec![0; BUFFER];
    for (name, &expected) in &manifest.files {
        let path = directory.join(name);
        let mut reader = Hashed::new(io::open(&path).map_err(StoreError::read(&path))?.reader);
        while reader.read(&mut buffer).map_err(StoreError::read(&path))? > 0 {}
        check_content(&path, reader.info(), expected)?;
        checked.push((path, expected.bytes));
    }
    Ok(checked)
}

/// Removes what a crash left in a directory of checkpoints that no other process writes to. A checkpoint that was being
/// replaced gets its name back. [`save`] does the same. Before a resume, this makes the newest checkpoint visible.
pub fn recover(directory: &Path) -> Result<(), StoreError> {
    let _alone = catalog::alone();
    if directory.is_dir() { clean(directory) } else { Ok(()) }
}

/// Writes all files of a checkpoint into `directory`, and returns the bytes of the manifest. Errors name a file by the
/// path that it would have below `target`.
fn write_files(directory: &Path, target: &Path, checkpoint: &Checkpoint) -> Result<Vec<u8>, StoreError> {
    let mut files = BTreeMap::new();
    for (name, list) in [(WEIGHTS, &checkpoint.weights), (MOMENTS, &checkpoint.moments)] {
        let path = target.join(name);
        let mut file = create(&directory.join(name), &path)?;
        files.insert(name.to_owned(), tensors::write(&mut file, &path, list)?);
        finish(file, &path)?;
    }
    let write = |name: &str, bytes: &[u8]| {
        let path = target.join(name);
        let mut file = create(&directory.join(name), &path)?;
        file.write_all(bytes).map_err(StoreError::write(&path))?;
        finish(file, &path)
    };
    let graph = checkpoint.graph.as_bytes();
    write(GRAPH, graph)?;
    files.insert(GRAPH.to_owned(), FileInfo { bytes: graph.len() as u64, crc32c: crc32c::crc32c(graph) });
    let manifest = Manifest {
        format: FORMAT,
        framewise: env!("CARGO_PKG_VERSION").to_owned(),
        step: checkpoint.step,
        epoch: checkpoint.epoch,
        samples: checkpoint.samples,
        updates: checkpoint.updates,
        seed: checkpoint.seed,
        cursor: checkpoint.cursor.clone(),
        model: checkpoint.model.clone(),
        metrics: json_metrics(&checkpoint.metrics),
        files,
    };
    let manifest = sealed::seal(&manifest, &target.join(MANIFEST))?;
    write(MANIFEST, &manifest)?;
    Ok(manifest)
}

fn create(path: &Path, shown: &Path) -> Result<BufWriter<File>, StoreError> {
    let file = io::create_new(path).map_err(StoreError::write(shown))?;
    Ok(BufWriter::with_capacity(BUFFER, file))
}

fn finish(file: BufWriter<File>, shown: &Path) -> Result<(), StoreError> {
    let file = file.into_inner().map_err(|e| StoreError::write(shown)(e.into_error()))?;
    file.sync_all().map_err(StoreError::write(shown))
}

/// Removes what a crash left in a directory of checkpoints. A checkpoint that was being replaced gets its name back.
fn clean(directory: &Path) -> Result<(), StoreError> {
    for path in io::list(directory).map_err(StoreError::read(directory))? {
        let Some((name, kind)) = path.file_name().and_then(OsStr::to_str).and_then(leftover) else {
            continue;
        };
        let target = directory.join(name);
        if kind == "old" && !target.exists() {
            fs::rename(&path, &target).map_err(StoreError::write(&target))?;
        } else {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Splits a temporary name into the final name and its kind, if this module or the catalog makes such names.
fn leftover(name: &str) -> Option<(&str, &str)> {
    let (name, rest) = name.strip_prefix('.')?.rsplit_once('.')?;
    let (kind, _) = rest.split_once('-')?;
    let ours = catalog::step_of(name).is_some() || name == catalog::BEST;
    (ours && ["tmp", "old", "gone"].contains(&kind)).then_some((name, kind))
}

/// A directory that is removed when this is dropped, unless it was renamed.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn create(target: &Path) -> Result<Self, StoreError> {
        let path = hidden_name(target, "tmp")?;
        fs::create_dir(&path).map_err(StoreError::write(target))?;
        Ok(Self { path })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename, the directory is no longer there. If removing it fails, the next save tries again.
        let _ = fs::remove_dir_all(&self.path);
    }
}
