//! The checkpoints of a run: which there are, which is the newest, which the best, which may go. The one law: the
//! newest complete checkpoint is never removed, and an incomplete one is never taken for complete.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::atomic::{sync_directory, sync_parent, temporary_name, write_file};
use super::checkpoint::remove;
use super::error::StoreError;
use super::manifest::{LaterMetrics, MANIFEST, METRICS, Manifest, json_metrics};
use super::sealed;

/// Name of the symbolic link to the best checkpoint.
pub const BEST: &str = "best";
/// Where a run directory keeps its checkpoints.
const CHECKPOINTS: &str = "checkpoints";

/// A directory named like a checkpoint.
#[derive(Debug)]
pub struct Entry {
    /// From its name.
    pub step: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Metrics written with it or recorded later; empty when there is a problem.
    pub metrics: BTreeMap<String, f64>,
    /// Why it is not complete. Found without reading tensors: the manifest, the later metrics, all lengths.
    pub problem: Option<StoreError>,
}

impl Entry {
    /// Whether all files are there at full length.
    pub fn is_complete(&self) -> bool {
        self.problem.is_none()
    }
}

/// The checkpoint that a path stands for.
#[derive(Debug)]
pub struct Found {
    /// Its directory.
    pub path: PathBuf,
    /// Newer ones that were passed over because they are not complete: worth a warning.
    pub skipped: Vec<Entry>,
}

/// Finds the checkpoint that `path` stands for: itself if it is one, else the complete one with the highest step
/// in it or in its `checkpoints` (a run directory).
pub fn find(path: &Path) -> Result<Found, StoreError> {
    if path.is_file() {
        return Err(StoreError::format(path, "a file, not a checkpoint directory"));
    }
    if !path.is_dir() {
        return Err(StoreError::Missing { path: path.to_owned() });
    }
    // By its name too: a checkpoint without a manifest is damaged, not an empty collection.
    if path.join(MANIFEST).exists() || path.file_name().and_then(OsStr::to_str).and_then(step_of).is_some() {
        return Ok(Found { path: path.to_owned(), skipped: Vec::new() });
    }
    let mut entries = list(path)?;
    if entries.is_empty() && path.join(CHECKPOINTS).is_dir() {
        entries = list(&path.join(CHECKPOINTS))?;
    }
    let Some(newest) = entries.iter().rposition(Entry::is_complete) else {
        // The newest's problem says more than that there is none.
        let problem = entries.pop().and_then(|entry| entry.problem);
        return Err(problem.unwrap_or_else(|| StoreError::Missing { path: path.to_owned() }));
    };
    let skipped = entries.split_off(newest + 1);
    let newest = entries.pop().expect("its position was found above");
    Ok(Found { path: newest.path, skipped })
}

/// Lists the checkpoints in `directory`, lowest step first. Temporary names and the `best` link are no entries.
pub fn list(directory: &Path) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(StoreError::read(directory))? {
        let path = entry.map_err(StoreError::read(directory))?.path();
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

/// Records metrics of a checkpoint that became known after it was written, over those of the same name.
///
/// They go to `metrics.json`, replaced whole; the manifest keeps its bytes.
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
    write_file(&path, &sealed::seal(&later, &path)?)
}

/// Points the link `best` at the complete checkpoint with the best value of `metric`; of equal ones at the
/// earliest. Returns its step; `None`, and no change, when none has the metric (NaN is none).
pub fn mark_best(directory: &Path, metric: &str, bigger_is_better: bool) -> Result<Option<u64>, StoreError> {
    let _alone = alone();
    let entries = list(directory)?;
    let Some(best) = best_of(&entries, metric, bigger_is_better) else { return Ok(None) };
    let name = directory_name(best.step);
    let link = directory.join(BEST);
    if fs::read_link(&link).is_ok_and(|there| there == Path::new(&name)) {
        return Ok(Some(best.step));
    }
    let temporary = temporary_name(&link, "tmp")?;
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
    sync_directory(directory)?;
    Ok(Some(best.step))
}

/// Removes old checkpoints and returns their paths.
///
/// Kept: the `keep_last` newest complete ones (at least one), the best by `keep_best` (metric, bigger is
/// better), the one that `best` points to, and every incomplete one, for its owner to look at.
pub fn prune(
    directory: &Path,
    keep_last: usize,
    keep_best: Option<(&str, bool)>,
) -> Result<Vec<PathBuf>, StoreError> {
    let _alone = alone();
    let entries = list(directory)?;
    let best =
        keep_best.and_then(|(metric, bigger)| best_of(&entries, metric, bigger)).map(|entry| entry.step);
    let linked = fs::read_link(directory.join(BEST)).ok();
    let linked = linked.as_deref().and_then(Path::file_name).and_then(OsStr::to_str).and_then(step_of);
    let kept = [best, linked];
    let mut removed = Vec::new();
    for entry in entries.iter().rev().filter(|entry| entry.is_complete()).skip(keep_last.max(1)) {
        if !kept.contains(&Some(entry.step)) {
            // Renamed first: a crash half-way must not leave half a checkpoint under its name.
            let gone = temporary_name(&entry.path, "gone")?;
            fs::rename(&entry.path, &gone).map_err(StoreError::write(&entry.path))?;
            remove(&gone)?;
            removed.push(entry.path.clone());
        }
    }
    removed.reverse();
    if !removed.is_empty() {
        sync_directory(directory)?;
    }
    Ok(removed)
}

/// Takes a damaged checkpoint out of the list: it is renamed to `step-….damaged` (or `.damaged-2` and so on) for its
/// owner to look at, so that it counts neither as the newest nor among those to keep. Returns the new path. A `best`
/// link to it goes.
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
    sync_parent(checkpoint)?;
    Ok(aside)
}

/// Keeps the threads of this process from changing checkpoints at the same time: cleaning up must not meet
/// another's unfinished directory, nor recording metrics a removal.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static CHANGING: Mutex<()> = Mutex::new(());
    // Guards no data, so a panic while it was held left nothing half-done here.
    CHANGING.lock().unwrap_or_else(PoisonError::into_inner)
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
