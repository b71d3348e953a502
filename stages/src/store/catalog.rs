//! The catalog of a run's checkpoints: which checkpoints there are, which is the newest, which is the best, and which
//! may be removed.
//!
//! Law: the newest complete checkpoint is never removed, and an incomplete one is never taken for complete.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::manifest::{LaterMetrics, MANIFEST, METRICS, Manifest, json_metrics};
use super::sealed;
use crate::io::{self, hidden_name, sync_directory, sync_parent};

/// The name of the symbolic link to the best checkpoint.
pub const BEST: &str = "best";
/// The folder of a run directory that holds its checkpoints.
const CHECKPOINTS: &str = "checkpoints";

/// A directory that is named like a checkpoint.
#[derive(Debug)]
pub struct Entry {
    /// The step, from the name of the directory.
    pub step: u64,
    /// The path of the directory.
    pub path: PathBuf,
    /// The metrics that were written with the checkpoint or recorded later. Empty when there is a problem.
    pub metrics: BTreeMap<String, f64>,
    /// The reason why the checkpoint is not complete. It is found without reading tensors: from the manifest, the later
    /// metrics and the lengths of all files.
    pub problem: Option<StoreError>,
}

impl Entry {
    /// Whether all files are there at their full length.
    pub fn is_complete(&self) -> bool {
        self.problem.is_none()
    }
}

/// The checkpoint that a path stands for.
#[derive(Debug)]
pub struct Found {
    /// The directory of the checkpoint.
    pub path: PathBuf,
    /// Newer checkpoints that were passed over because they are not complete, which is worth a warning.
    pub skipped: Vec<Entry>,
}

/// Finds the checkpoint that `path` stands for. That is `path` itself if it is a checkpoint. Otherwise it is the
/// complete checkpoint with the highest step in `path`, or in its folder `checkpoints` if `path` is a run directory.
pub fn find(path: &Path) -> Result<Found, StoreError> {
    if path.is_file() {
        return Err(StoreError::format(path, "a file, not a checkpoint directory"));
    }
    if !path.is_dir() {
        return Err(StoreError::Missing { path: path.to_owned() });
    }
    // The name counts too: a checkpoint without a manifest is damaged, and is not an empty collection.
    if path.join(MANIFEST).exists() || path.file_name().and_then(OsStr::to_str).and_then(step_of).is_some() {
        return Ok(Found { path: path.to_owned(), skipped: Vec::new() });
    }
    let mut entries = list(path)?;
    if entries.is_empty() && path.join(CHECKPOINTS).is_dir() {
        entries = list(&path.join(CHECKPOINTS))?;
    }
    let Some(newest) = entries.iter().rposition(Entry::is_complete) else {
        // The problem of the newest checkpoint says more than that there is no checkpoint.
        let problem = entries.pop().and_then(|entry| entry.problem);
        return Err(problem.unwrap_or_else(|| StoreError::Missing { path: path.to_owned() }));
    };
    let skipped = entries.split_off(newest + 1);
    let newest = entries.pop().expect("its position was found above");
    Ok(Found { path: newest.path, skipped })
}

/// Whether a directory is a checkpoint, or holds checkpoints itself or in its folder `checkpoints`.
pub fn is_checkpoint(path: &Path) -> bool {
    path.is_dir() && !matches!(find(path), Err(StoreError::Missing { .. }))
}

/// Lists the checkpoints in `directory`, lowest step first. Temporary names and the `best` link are left out.
pub fn list(directory: &Path) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    for path in io::list(directory).map_err(StoreError::read(directory))? {
        let Some(step) = path.file_name().and_then(OsStr::to_str).and_then(step_of) else { continue };
        if path.is_dir() {
            let (metrics, problem) = match examine(&path, step) {
                Ok(metrics) => (metrics, None),
                Err(problem) => (BTreeMap::new(), Some(problem)),
            };
            entries.push(Entry { step, path, metrics, problem });
        }
    }
    entries.sort_by_key(|entry| entry.step);
    Ok(entries)
}

/// Records metrics of a checkpoint that became known after it was written. They replace metrics of the same names.
///
/// The metrics go to `metrics.json`, which is replaced as a whole. The manifest keeps its bytes.
pub fn record_metrics(
    directory: &Path,
    step: u64,
    metrics: &BTreeMap<String, f64>,
) -> Result<(), StoreError> {
    let _alone = alone();
    let checkpoint = directory.join(directory_name(step));
    if !checkpoint.is_dir() {
        return Err(StoreError::Missing { path: checkpoint });
    }
    let mut later = LaterMetrics::read(&checkpoint)?;
    later.metrics.extend(json_metrics(metrics));
    let path = checkpoint.join(METRICS);
    Ok(io::write_file(&path, &sealed::seal(&later, &path)?)?)
}

/// Points the link `best` to the complete checkpoint with the best value of `metric`, and among equal ones to the
/// earliest. Returns the step of that checkpoint. When no checkpoint has the metric (NaN does not count), this returns
/// `None` and changes nothing.
pub fn mark_best(directory: &Path, metric: &str, bigger_is_better: bool) -> Result<Option<u64>, StoreError> {
    let _alone = alone();
    let entries = list(directory)?;
    let Some(best) = best_of(&entries, metric, bigger_is_better) else { return Ok(None) };
    let name = directory_name(best.step);
    let link = directory.join(BEST);
    if fs::read_link(&link).is_ok_and(|there| there == Path::new(&name)) {
        return Ok(Some(best.step));
    }
    let temporary = hidden_name(&link, "tmp")?;
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(&name, &temporary);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_dir(&name, &temporary);
    linked.map_err(StoreError::write(&link))?;
    if let Err(source) = fs::rename(&temporary, &link) {
        // The first error is the one to report.
        let _ = remove(&temporary);
        return Err(StoreError::write(&link)(source));
    }
    sync_directory(directory).map_err(StoreError::write(directory))?;
    Ok(Some(best.step))
}

/// The step of the checkpoint to which the link `best` points. `None` where there is no such link.
pub fn marked_best(directory: &Path) -> Option<u64> {
    let link = fs::read_link(directory.join(BEST)).ok()?;
    link.file_name().and_then(OsStr::to_str).and_then(step_of)
}

/// Removes old checkpoints and returns their paths.
///
/// These checkpoints are kept: the `keep_last` newest complete ones (at least one), the best one by `keep_best`
/// (metric, whether bigger is better), the one that `best` points to, and every incomplete one, for its owner to look
/// at.
pub fn prune(
    directory: &Path,
    keep_last: usize,
    keep_best: Option<(&str, bool)>,
) -> Result<Vec<PathBuf>, StoreError> {
    let _alone = alone();
    let entries = list(directory)?;
    let best =
        keep_best.and_then(|(metric, bigger)| best_of(&entries, metric, bigger)).map(|entry| entry.step);
    let kept = [best, marked_best(directory)];
    let mut removed = Vec::new();
    for entry in entries.iter().rev().filter(|entry| entry.is_complete()).skip(keep_last.max(1)) {
        if !kept.contains(&Some(entry.step)) {
            // The directory is renamed first, because a crash half-way must not leave half a checkpoint under its name.
            let gone = hidden_name(&entry.path, "gone")?;
            fs::rename(&entry.path, &gone).map_err(StoreError::write(&entry.path))?;
            remove(&gone)?;
            removed.push(entry.path.clone());
        }
    }
    removed.reverse();
    if !removed.is_empty() {
        sync_directory(directory).map_err(StoreError::write(directory))?;
    }
    Ok(removed)
}

/// Takes a damaged checkpoint out of the list. It is renamed to `step-….damaged` (or `.damaged-2` and so on) for its
/// owner to look at. It then counts neither as the newest nor among those to keep, and a `best` link to it is removed.
/// Returns the new path.
pub fn set_aside(checkpoint: &Path) -> Result<PathBuf, StoreError> {
    let _alone = alone();
    let name = checkpoint.file_name().and_then(OsStr::to_str).filter(|name| step_of(name).is_some());
    let name = name.ok_or_else(|| StoreError::format(checkpoint, "not the name of a checkpoint"))?;
    let numbered = |n: u32| {
        let number = if n == 1 { String::new() } else { format!("-{n}") };
        checkpoint.with_file_name(format!("{name}.damaged{number}"))
    };
    let free = (1..).map(numbered).find(|path| path.symlink_metadata().is_err());
    let aside = free.expect("a directory does not hold 2^32 names");
    fs::rename(checkpoint, &aside).map_err(StoreError::write(checkpoint))?;
    let link = checkpoint.with_file_name(BEST);
    if fs::read_link(&link).is_ok_and(|there| there == Path::new(name)) {
        remove(&link)?;
    }
    sync_parent(checkpoint).map_err(StoreError::write(checkpoint))?;
    Ok(aside)
}

/// A lock that keeps the threads of this process from changing checkpoints at the same time. Cleaning up must not meet
/// the unfinished directory of another thread, and recording metrics must not meet a removal.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static CHANGING: Mutex<()> = Mutex::new(());
    // The lock guards no data, so a panic while it was held left nothing half-done here.
    CHANGING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes a directory with everything in it, or a symbolic link.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let is_directory = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) }
        .map_err(StoreError::write(path))
}

/// The name of a checkpoint's directory.
pub fn directory_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// The inverse of [`directory_name`].
pub(super) fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (directory_name(step) == name).then_some(step)
}

fn examine(path: &Path, step: u64) -> Result<BTreeMap<String, f64>, StoreError> {
    let manifest = Manifest::read(path)?;
    if manifest.step != step {
        return Err(StoreError::format(path, format!("its manifest is that of step {}", manifest.step)));
    }
    manifest.check_lengths(path)?;
    manifest.all_metrics(path)
}

fn best_of<'a>(entries: &'a [Entry], metric: &str, bigger_is_better: bool) -> Option<&'a Entry> {
    let mut best: Option<(&Entry, f64)> = None;
    for entry in entries {
        let Some(&value) = entry.metrics.get(metric) else { continue };
        let better = best.is_none_or(|(_, held)| if bigger_is_better { value > held } else { value < held });
        if better && !value.is_nan() {
            best = Some((entry, value));
        }
    }
    best.map(|(entry, _)| entry)
}
