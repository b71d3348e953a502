//! Where the checkpoints of a run are, and how to go on from them.

use std::fs;
use std::path::{Path, PathBuf};

use framewise_pipeline::Failure;
use framewise_pipeline::graph::ResolvedGraph;
use framewise_stages::store;

use super::directory::{cannot_write, create_all};
use super::lock::{LOCK, Lock};
use super::short;
use crate::cli::RunArgs;

/// The directory below a run's that holds its checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// A directory of checkpoints that the graph names, and that this run writes to alone.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) path: PathBuf,
    created: Vec<PathBuf>,
    lock: Lock,
}

impl Outside {
    /// Makes and locks the directory that a `checkpoint` stage names with `path`, if one does and it is not `run_dir`,
    /// which has a lock of its own.
    ///
    /// # Errors
    /// `CannotWrite` when another process writes there, or it cannot be made.
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

    /// Refuses checkpoints of another run: they could count as the newest of this one, and its own be removed for them.
    ///
    /// # Errors
    /// `CannotWrite`, as for a run directory that holds something already.
    pub(crate) fn check_new(&self) -> Result<(), Failure> {
        // What cannot be listed the stage will tell.
        let entries = store::list(&self.path).unwrap_or_default();
        let Some(newest) = entries.last() else { return Ok(()) };
        let (path, newest) = (self.path.display(), short(&newest.path).display());
        Err(Failure::cannot_write(format!(
            "the checkpoint stage's path {path} holds checkpoints already, up to {newest}; name another one, or go on \
             with their run: `--resume {path}`"
        )))
    }

    /// Takes away what was made for a run that could not begin.
    pub(crate) fn discard(self) {
        if !self.created.is_empty() {
            let _ = fs::remove_file(self.path.join(LOCK));
        }
        for directory in &self.created {
            // Not empty: a stage wrote there.
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
    }

    /// Whether nothing keeps a second run out of it.
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

/// Where a run of this graph in `run_dir` writes its checkpoints, if it writes any.
pub(crate) fn directory(graph: &ResolvedGraph, run_dir: &Path) -> Option<PathBuf> {
    graph.stages.iter().find(|stage| stage.type_name == "checkpoint")?;
    Some(named(graph).unwrap_or_else(|| run_dir.join(CHECKPOINTS)))
}

/// The newest checkpoint that this run wrote, if its graph writes any.
pub(crate) fn newest(graph: &ResolvedGraph, run_dir: &Path) -> Option<PathBuf> {
    // None at all is no error: the run may have ended before the first.
    store::find(&directory(graph, run_dir)?).ok().map(|found| found.path)
}

/// The command that goes on with the run in `run_dir`, for a shell. `changes_stored`: whether a checkpoint of this
/// graph is there; if not, the changes that were allowed must be allowed again.
pub(crate) fn resume_command(args: &RunArgs, run_dir: &Path, changes_stored: bool) -> String {
    let program =
        std::env::args_os().next().map_or("framewise".into(), |name| name.to_string_lossy().into_owned());
    let mut words = vec![program, "run".to_owned(), args.graph.display().to_string()];
    for change in &args.set.overrides {
        words.extend(["--set".to_owned(), format!("{}={}", change.key, change.value)]);
    }
    if !changes_stored {
        for key in &args.allow_changed {
            words.extend(["--allow-changed".to_owned(), key.clone()]);
        }
    }
    words.extend(["--resume".to_owned(), short(run_dir).display().to_string()]);
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("stages.batch.size=32"), "stages.batch.size=32");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quoted("*.tfrecord"), "'*.tfrecord'");
    }
}
