//! A checkpoint: one directory `step-00000540` with everything that training needs to go on bit for bit. The
//! one law: equal state gives equal bytes in every file, and a directory under its final name is complete.
//!
//! One process writes to a checkpoints directory at a time; its threads may all save.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::Value;

use super::atomic::{sync_directory, sync_parent, temporary_name};
use super::catalog;
use super::error::StoreError;
use super::hashed::Hashed;
use super::manifest::{
    FORMAT, FileInfo, GRAPH, MANIFEST, MOMENTS, Manifest, WEIGHTS, check_content, json_metrics, read_listed,
};
use super::{sealed, tensors};

const BUFFER: usize = 1 << 18;

/// State of training after a step.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Steps done; names the directory.
    pub step: u64,
    /// Epoch that the next example belongs to.
    pub epoch: u64,
    /// Examples seen, over all epochs.
    pub samples: u64,
    /// Updates of the optimizer (its bias correction counts them).
    pub updates: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Where the data goes on; belongs to the stages that read.
    pub cursor: Value,
    /// Configuration of the model.
    pub model: Value,
    /// Text of the resolved graph.
    pub graph: String,
    /// Weights by the names of the numeric specification, running statistics and input scale with them.
    pub weights: Vec<(String, Tensor)>,
    /// Moments of the optimizer: `first.NAME` and `second.NAME`.
    pub moments: Vec<(String, Tensor)>,
    /// Metrics known by now, by name. Not finite: stored as null, read back as NaN.
    pub metrics: BTreeMap<String, f64>,
}

/// Saves a checkpoint below `directory` (created if need be) and returns its path.
///
/// Everything goes to a hidden directory first, is flushed to the disk and renamed. What an earlier crash left
/// behind is removed. A checkpoint of the same step is replaced; if it holds the same bytes it stays, with the
/// metrics recorded for it since.
pub fn save(directory: &Path, checkpoint: &Checkpoint) -> Result<PathBuf, StoreError> {
    let _alone = catalog::alone();
    if !directory.is_dir() {
        fs::create_dir_all(directory).map_err(StoreError::write(directory))?;
        sync_parent(directory)?;
    }
    clean(directory)?;
    let target = directory.join(catalog::directory_name(checkpoint.step));
    let unfinished = Unfinished::create(&target)?;
    let manifest = write_files(&unfinished.path, &target, checkpoint)?;
    sync_directory(&unfinished.path)?;
    if target.symlink_metadata().is_ok() {
        if fs::read(target.join(MANIFEST)).is_ok_and(|there| there == manifest) && verify(&target).is_ok() {
            return Ok(target);
        }
        // A crash between the two renames leaves this step without a name until the next save puts it back.
        let old = temporary_name(&target, "old")?;
        fs::rename(&target, &old).map_err(StoreError::write(&target))?;
        fs::rename(&unfinished.path, &target).map_err(StoreError::write(&target))?;
        sync_directory(directory)?;
        remove(&old)?;
    } else {
        fs::rename(&unfinished.path, &target).map_err(StoreError::write(&target))?;
        sync_directory(directory)?;
    }
    Ok(target)
}

/// Loads the checkpoint that [`find`](super::find) finds at `path`: a checkpoint, a directory of them or a run
/// directory. Every checksum is verified; tensors come to the host, sorted by name.
pub fn load(path: &Path) -> Result<Checkpoint, StoreError> {
    let directory = catalog::find(path)?.path;
    let manifest = Manifest::read(&directory)?;
    // Cheap, and finds most damage before gigabytes are read.
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

/// Reads every byte of what is at `path` and compares checksums, without keeping anything: a checkpoint as in
/// [`load`], or a bare `.safetensors` file, which has no checksum and is checked for its structure only.
/// Returns the checked files with their lengths.
pub fn verify(path: &Path) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    if path.is_file() {
        tensors::read_infos(path)?;
        let length = fs::metadata(path).map_err(StoreError::read(path))?.len();
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
        let mut reader = Hashed::new(File::open(&path).map_err(StoreError::read(&path))?);
        while reader.read(&mut buffer).map_err(StoreError::read(&path))? > 0 {}
        check_content(&path, reader.info(), expected)?;
        checked.push((path, expected.bytes));
    }
    Ok(checked)
}

/// Removes what a crash left in a checkpoints directory that no other process writes to; a checkpoint that was being
/// replaced gets its name back. [`save`] does so too; before a resume it makes the newest one visible.
pub fn recover(directory: &Path) -> Result<(), StoreError> {
    let _alone = catalog::alone();
    if directory.is_dir() { clean(directory) } else { Ok(()) }
}

/// Writes all files of a checkpoint into `directory` and returns the bytes of the manifest.
/// Errors name the file as it would be called below `target`.
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
    let file = File::create_new(path).map_err(StoreError::write(shown))?;
    Ok(BufWriter::with_capacity(BUFFER, file))
}

fn finish(file: BufWriter<File>, shown: &Path) -> Result<(), StoreError> {
    let file = file.into_inner().map_err(|e| StoreError::write(shown)(e.into_error()))?;
    file.sync_all().map_err(StoreError::write(shown))
}

/// Removes what a crash left in a checkpoints directory; a checkpoint that was being replaced gets its name back.
fn clean(directory: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(directory).map_err(StoreError::read(directory))? {
        let path = entry.map_err(StoreError::read(directory))?.path();
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

/// Splits a temporary name into the final name and its kind, if it is one that this module or the catalog makes.
fn leftover(name: &str) -> Option<(&str, &str)> {
    let (name, rest) = name.strip_prefix('.')?.rsplit_once('.')?;
    let (kind, _) = rest.split_once('-')?;
    let ours = catalog::step_of(name).is_some() || name == catalog::BEST;
    (ours && ["tmp", "old", "gone"].contains(&kind)).then_some((name, kind))
}

/// Removes a directory with all in it, or a symbolic link.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let is_directory = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) }
        .map_err(StoreError::write(path))
}

/// A directory that is removed unless it has been renamed.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn create(target: &Path) -> Result<Self, StoreError> {
        let path = temporary_name(target, "tmp")?;
        fs::create_dir(&path).map_err(StoreError::write(target))?;
        Ok(Self { path })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Not there any more after the rename. If removing fails the next save tries again.
        let _ = fs::remove_dir_all(&self.path);
    }
}
