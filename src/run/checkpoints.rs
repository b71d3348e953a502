//! The places of a run's checkpoints, and the command that resumes from them.

use std::fs;
use std::path::{Path, PathBuf};

use framewise_pipeline::Failure;
use framewise_pipeline::graph::ResolvedGraph;
use framewise_stages::store::{self, Entry};

use super::lock::{LOCK, Lock};
use crate::cli::RunArgs;
use crate::directories::{create_all, remove_created};
use crate::exit::cannot_write;
use crate::shell::{self, short};

/// The folder of a run directory that holds its checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// A directory of checkpoints that the graph names, and that this run writes to alone.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) path: PathBuf,
    created: Vec<PathBuf>,
    lock: Lock,
}

impl Outside {
    /// Makes and locks the directory that a `checkpoint` stage names with `path`, if there is such a stage and the
    /// directory is not `run_dir`, which has a lock of its own.
    ///
    /// # Errors
    /// `CannotWrite` when another process writes there, or when the directory cannot be made.
    pub(crate) fn take(graph: &ResolvedGraph, run_dir: Option<&Path>) -> Result<Option<Self>, Failure> {
        let Some(path) = named(graph) else { return Ok(None) };
        let absolute = |path: &Path| std::path::absolute(path).ok();
        if run_dir.is_some_and(|run_dir| absolute(run_dir) == absolute(&path)) {
            return Ok(None);
        }
        let created = create_all(&path).map_err(|e| cannot_write(&path, &e))?;
        let lock = Lock::take(&path)?;
        Ok(Some(Self { path, created, lock }))
    }

    /// Refuses a directory with checkpoints of another run. They could count as the newest ones of this run, and this
    /// run's own checkpoints could be removed in their place.
    ///
    /// # Errors
    /// `CannotWrite`, as for a run directory that already holds something.
    pub(crate) fn check_new(&self) -> Result<(), Failure> {
        // If the directory cannot be listed, the stage reports that.
        let entries = store::list(&self.path).unwrap_or_default();
        let Some(newest) = entries.last() else { return Ok(()) };
        let (path, newest) = (self.path.display(), short(&newest.path).display());
        Err(Failure::cannot_write(format!(
            "the checkpoint stage's path {path} holds checkpoints already, up to {newest}; name another one, or go on \
             with their run: `--resume {path}`"
        )))
    }

    /// Removes what was made for a run that could not begin.
    pub(crate) fn discard(self) {
        if !self.created.is_empty() {
            let _ = fs::remove_file(self.path.join(LOCK));
        }
        remove_created(&self.created);
    }

    /// Whether nothing keeps a second run out of the directory.
    pub(crate) fn is_unlocked(&self) -> bool {
        self.lock.unsupported
    }
}

/// The directory that the graph's `checkpoint` stage names.
pub(crate) fn named(graph: &ResolvedGraph) -> Option<PathBuf> {
    let stage = graph.stages.iter().find(|stage| stage.type_name == "checkpoint")?;
    let path = stage.settings.text("path");
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// The directory to which a run of this graph in `run_dir` writes its checkpoints, if it writes any.
pub(crate) fn directory(graph: &ResolvedGraph, run_dir: &Path) -> Option<PathBuf> {
    graph.stages.iter().find(|stage| stage.type_name == "checkpoint")?;
    Some(named(graph).unwrap_or_else(|| run_dir.join(CHECKPOINTS)))
}

/// The checkpoints that a run leaves.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The newest complete checkpoint.
    pub(crate) last: Option<Entry>,
    /// The best complete checkpoint, with the metric by which the graph keeps it.
    pub(crate) best: Option<(Entry, String)>,
}

/// The checkpoints of the run in `run_dir`. There are none if its graph writes none, or the run ended before the first.
pub(crate) fn kept(graph: &ResolvedGraph, run_dir: &Path) -> Kept {
    let Some(directory) = directory(graph, run_dir) else { return Kept::default() };
    let stage = graph.stages.iter().find(|stage| stage.type_name == "checkpoint");
    let metric = stage.map(|stage| stage.settings.text("best")).filter(|metric| !metric.is_empty());
    // A directory that cannot be listed holds no checkpoint that could be used.
    let complete = || store::list(&directory).unwrap_or_default().into_iter().filter(Entry::is_complete);
    let best = metric.and_then(|metric| {
        let step = store::marked_best(&directory)?;
        complete().find(|entry| entry.step == step).map(|entry| (entry, metric.to_owned()))
    });
    Kept { last: complete().last(), best }
}

/// The words of the command that resumes the run in `run_dir`. `changes_stored` says whether there is a checkpoint of
/// this graph. If not, the changes that were allowed must be allowed again.
pub(crate) fn resume_command(args: &RunArgs, run_dir: &Path, changes_stored: bool) -> Vec<String> {
    let mut words = vec![shell::program(), "run".to_owned(), args.graph.display().to_string()];
    for change in &args.set.overrides {
        words.extend(["--set".to_owned(), format!("{}={}", change.key, change.value)]);
    }
    if !changes_stored {
        for key in &args.allow_changed {
            words.extend(["--allow-changed".to_owned(), key.clone()]);
        }
    }
    words.extend(["--resume".to_owned(), short(run_dir).display().to_string()]);
    words
}
