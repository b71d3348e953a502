//! Run directories: the directory to which a run writes.
//!
//! Laws: no two runs share a directory at the same time. No run writes into a directory that already holds something,
//! unless it is resumed there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use framewise_pipeline::Failure;
use framewise_stages::{io as files, store};

use super::lock::{LOCK, Lock};
use crate::directories::{create_all, remove_created};
use crate::exit::cannot_write;
use crate::serve::LIVE;

/// The directory in which run directories are made if the user names none.
pub(crate) const RUNS: &str = "runs";
/// The folder of a run directory that holds the directories of ranks which exchange nothing.
pub(crate) const RANKS: &str = "ranks";
/// The file with the graph as it runs.
pub(crate) const GRAPH: &str = "graph.resolved.toml";
/// The file with every message of the run.
pub(crate) const LOG: &str = "log.jsonl";
/// The file with the result of the run, in the form of `--format json`.
pub(crate) const RESULTS: &str = "results.json";
/// The file with the numbers that stages report.
pub(crate) const METRICS: &str = "metrics.jsonl";
/// The file with the last reading of the run: the table of stages, and the edges.
pub(crate) const STAGES: &str = "stages.json";
/// The files to which a run appends lines.
pub(crate) const OWN_LOGS: [&str; 3] = [LOG, METRICS, "rejected.jsonl"];

/// A directory that belongs to this run alone.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    /// The directories that were made for the run, the innermost first.
    created: Vec<PathBuf>,
    /// Whether this run resumes an earlier run in this directory.
    reopened: bool,
    lock: Lock,
}

impl RunDir {
    /// Makes the directory `wanted`, or `runs/NAME-N` with the first number that is free.
    ///
    /// # Errors
    /// `CannotWrite` when the directory cannot be made or already holds something. The error names the directory.
    pub(crate) fn create(wanted: Option<&Path>, graph_name: &str) -> Result<Self, Failure> {
        match wanted {
            Some(path) => Self::create_named(path),
            None => Self::create_numbered(Path::new(RUNS), &safe_name(graph_name)),
        }
    }

    /// Makes the directory `ranks/RANK` in `run_dir`, the directory of rank 0, for what a rank that is linked with the others notes
    /// down. It may be there from before, where a run is resumed.
    ///
    /// # Errors
    /// `CannotWrite` when the directory cannot be made, or another process holds it.
    pub(crate) fn create_beside(run_dir: &Path, rank: usize) -> Result<Self, Failure> {
        let path = part(run_dir, rank);
        let created = create_all(&path).map_err(|e| cannot_write(&path, &e))?;
        let lock = Lock::take(&path)?;
        Ok(Self { path, created, reopened: false, lock })
    }

    /// Makes the directory `ranks/RANK` in `run_dir`, the directory of all ranks. What a rank left there that did not come to
    /// its end is removed.
    ///
    /// # Errors
    /// `CannotWrite` when the directory cannot be made, when it holds a part that is whole, or when `run_dir` holds anything
    /// but the directories of ranks.
    pub(crate) fn create_part(run_dir: Option<&Path>, rank: usize) -> Result<Self, Failure> {
        let Some(run_dir) = run_dir else { return Err(Failure::internal("a rank without a run directory")) };
        check_holds_only(run_dir, &[LOCK, RANKS])?;
        let path = part(run_dir, rank);
        let created = create_all(&path).map_err(|e| cannot_write(&path, &e))?;
        let lock = Lock::take(&path)?;
        let directory = Self { path, created, reopened: false, lock };
        directory.clear()?;
        Ok(directory)
    }

    /// Removes what an earlier run left in the directory of a rank, unless it came to its end.
    fn clear(&self) -> Result<(), Failure> {
        let shown = self.path.display();
        let results = files::read_to_string(&self.path.join(RESULTS)).unwrap_or_default();
        let results = serde_json::from_str::<serde_json::Value>(&results).unwrap_or_default();
        if results["status"] == "ok" {
            return Err(Failure::cannot_write(format!(
                "{shown} holds the part of a run that is done; name a new run directory, or merge its parts"
            )));
        }
        if !self.path.join(LOG).is_file() {
            // No run has been here.
            return check_holds_only(&self.path, &[LOCK]);
        }
        for path in files::list(&self.path).map_err(|e| cannot_write(&self.path, &e))? {
            if path.file_name().is_some_and(|name| name == LOCK) {
                continue;
            }
            let is_directory = path.symlink_metadata().is_ok_and(|found| found.is_dir());
            let removed = if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|e| cannot_write(&path, &e))?;
        }
        Ok(())
    }

    /// Takes the directory of an earlier run, to resume that run in it. Half a line that a killed process left at the
    /// end of a log is cut off, and half a file is removed, as is the file that said where that process could be watched.
    ///
    /// # Errors
    /// `CannotWrite` when another process runs there, or when a file cannot be written.
    pub(crate) fn reopen(path: &Path) -> Result<Self, Failure> {
        let lock = Lock::take(path)?;
        files::remove_unfinished(path)?;
        for name in OWN_LOGS {
            let log = path.join(name);
            files::cut_half_line(&log).map_err(|e| cannot_write(&log, &e))?;
        }
        remove_old(&path.join(LIVE))?;
        Ok(Self { path: path.to_owned(), created: Vec::new(), reopened: true, lock })
    }

    /// Whether nothing keeps a second run out of the directory.
    pub(crate) fn is_unlocked(&self) -> bool {
        self.lock.unsupported
    }

    /// The path of the directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the graph as it runs, whole or not at all. The result of an interrupted run is removed: a run without a
    /// result is one that has not ended.
    ///
    /// # Errors
    /// `CannotWrite`. The error names the file.
    pub(crate) fn write_graph(&self, text: &str) -> Result<(), Failure> {
        files::write_file(&self.path.join(GRAPH), text.as_bytes())?;
        remove_old(&self.path.join(RESULTS))
    }

    /// Writes the result of the run, whole or not at all.
    ///
    /// # Errors
    /// `CannotWrite`. The error names the file.
    pub(crate) fn write_results(&self, json: &str) -> Result<(), Failure> {
        Ok(files::write_file(&self.path.join(RESULTS), json.as_bytes())?)
    }

    /// Removes what was made for a run that could not begin. What a stage wrote stays together with the directory, and
    /// so does everything of an earlier run.
    pub(crate) fn discard(self) {
        if self.reopened {
            return;
        }
        for name in [GRAPH, LOG, LOCK] {
            // A file that is not there is right, and so is a directory that is not empty.
            let _ = fs::remove_file(self.path.join(name));
        }
        remove_created(&self.created);
    }

    fn create_named(path: &Path) -> Result<Self, Failure> {
        let created = create_all(path).map_err(|e| cannot_write(path, &e))?;
        check_empty(path)?;
        let lock = Lock::take(path)?;
        // Another run may have been here between the two steps.
        check_empty(path)?;
        Ok(Self { path: path.to_owned(), created, reopened: false, lock })
    }

    fn create_numbered(parent: &Path, name: &str) -> Result<Self, Failure> {
        let mut created = create_all(parent).map_err(|e| cannot_write(parent, &e))?;
        // The number is above all others, so that the highest number is the newest run.
        let first = numbered(parent, name).map_err(|e| cannot_write(parent, &e))?;
        let first = first.last().map_or(1, |(number, _)| number.saturating_add(1));
        for number in first.. {
            let path = parent.join(format!("{name}-{number}"));
            // The directory is created and tested in one step, so that only one of two runs gets a number.
            match fs::create_dir(&path) {
                Ok(()) => {
                    created.insert(0, path.clone());
                    let lock = Lock::take(&path)?;
                    return Ok(Self { path, created, reopened: false, lock });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot_write(&path, &error)),
            }
        }
        Err(Failure::cannot_write(format!("no number is left for {}/{name}-N", parent.display())))
    }
}

/// Removes a file of the earlier run, if it is there.
fn remove_old(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot_write(path, &error)),
        _ => Ok(()),
    }
}

/// The run directories of a graph below `runs/`, the oldest first.
///
/// # Errors
/// The directory `runs/` exists but cannot be listed.
pub(crate) fn runs_of(graph_name: &str) -> io::Result<Vec<PathBuf>> {
    let runs = numbered(Path::new(RUNS), &safe_name(graph_name))?;
    Ok(runs.into_iter().map(|(_, path)| path).collect())
}

/// The directories `NAME-N` in `parent`, by their numbers.
fn numbered(parent: &Path, name: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let file_name = entry.file_name();
        let number = file_name.to_str().and_then(|text| text.strip_prefix(name)?.strip_prefix('-'));
        // The number must be written as it is: `+1` and `01` are names of other things.
        let number = number.and_then(|text| text.parse::<u64>().ok().filter(|n| n.to_string() == text));
        if let (Some(number), true) = (number, entry.path().is_dir()) {
            found.push((number, parent.join(file_name)));
        }
    }
    found.sort();
    Ok(found)
}

/// The directory of a rank in the directory of all ranks.
pub(crate) fn part(run_dir: &Path, rank: usize) -> PathBuf {
    run_dir.join(RANKS).join(format!("{rank:04}"))
}

/// Refuses a directory with anything in it except what has one of these names. It need not be there.
fn check_holds_only(path: &Path, names: &[&str]) -> Result<(), Failure> {
    let entries = match files::list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| cannot_write(path, &e))?,
    };
    let is_known =
        |entry: &PathBuf| names.iter().any(|name| entry.file_name().is_some_and(|found| found == *name));
    match entries.iter().find(|entry| !is_known(entry)) {
        None => Ok(()),
        Some(entry) => Err(Failure::cannot_write(format!(
            "the run directory {} holds something else than the parts of ranks, {}; name a new or empty directory",
            path.display(),
            entry.display()
        ))),
    }
}

/// Refuses a directory with anything in it except a lock that nobody holds.
fn check_empty(path: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(path).map_err(|e| cannot_write(path, &e))? {
        if entry.map_err(|e| cannot_write(path, &e))?.file_name() != LOCK {
            // Only a training run that has written a checkpoint can be resumed.
            let resumable = store::find(path).is_ok();
            let path = path.display();
            let mut text = format!(
                "the run directory {path} holds files already; name a new or empty directory, or leave --run-dir out"
            );
            if resumable {
                text += &format!("; `--resume {path}` goes on with the run that is in it");
            }
            return Err(Failure::cannot_write(text));
        }
    }
    Ok(())
}

/// A graph's name as the name of a directory.
fn safe_name(graph_name: &str) -> String {
    let keep = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = graph_name.chars().take(100).map(keep).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "graph".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_only_grow_so_that_the_highest_is_the_newest() {
        let temp = tempfile::tempdir().unwrap();
        let runs = temp.path().join("runs");
        let make = || RunDir::create_numbered(&runs, "a").unwrap();
        let (first, second, third) = (make(), make(), make());
        assert!(
            first.path().ends_with("a-1") && second.path().ends_with("a-2") && third.path().ends_with("a-3")
        );
        second.discard();
        assert!(make().path().ends_with("a-4"));
        // Directories of other graphs do not count, and neither do files.
        for name in ["a-b-9", "a-09", "a-+9", "a-"] {
            fs::create_dir(runs.join(name)).unwrap();
        }
        fs::write(runs.join("a-77"), "").unwrap();
        let numbers: Vec<u64> = numbered(&runs, "a").unwrap().into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [1, 3, 4]);
        let tenth = runs.join("a-10");
        fs::create_dir(&tenth).unwrap();
        assert_eq!(numbered(&runs, "a").unwrap().pop(), Some((10, tenth)));
    }

    #[test]
    fn what_a_crash_left_is_put_in_order() {
        let temp = tempfile::tempdir().unwrap();
        for name in OWN_LOGS {
            fs::write(temp.path().join(name), "whole\nhalf").unwrap();
        }
        fs::write(temp.path().join(LIVE), "{}").unwrap();
        drop(RunDir::reopen(temp.path()).unwrap());
        for name in OWN_LOGS {
            assert_eq!(fs::read_to_string(temp.path().join(name)).unwrap(), "whole\n");
        }
        assert!(!temp.path().join(LIVE).exists());
    }

    #[test]
    fn a_directory_that_is_taken_up_again_belongs_to_one_and_loses_nothing() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(GRAPH), "x = 1\n").unwrap();
        let run = RunDir::reopen(temp.path()).unwrap();
        assert_eq!(RunDir::reopen(temp.path()).unwrap_err().kind.exit_code(), 73);
        run.write_graph("x = 2\n").unwrap();
        run.discard();
        assert_eq!(fs::read_to_string(temp.path().join(GRAPH)).unwrap(), "x = 2\n");
    }

    #[test]
    fn parallel_runs_never_share_a_directory() {
        let temp = tempfile::tempdir().unwrap();
        let runs = temp.path().join("runs");
        let mut paths: Vec<PathBuf> = std::thread::scope(|scope| {
            let make = || RunDir::create_numbered(&runs, "a").unwrap().path().to_owned();
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), 16);
    }

    #[test]
    fn a_discarded_run_leaves_nothing_but_what_was_there() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b/c");
        let run = RunDir::create(Some(&path), "").unwrap();
        run.write_graph("x = 1\n").unwrap();
        assert_eq!(fs::read_to_string(path.join(GRAPH)).unwrap(), "x = 1\n");
        run.discard();
        assert!(!temp.path().join("a").exists());
        assert!(temp.path().exists());

        // A directory that the user had made is not removed.
        fs::create_dir(temp.path().join("mine")).unwrap();
        RunDir::create(Some(&temp.path().join("mine")), "").unwrap().discard();
        assert!(temp.path().join("mine").exists());
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("notes.txt"), "mine").unwrap();
        let error = RunDir::create(Some(temp.path()), "").unwrap_err();
        assert_eq!(error.kind.exit_code(), 73);
        assert!(error.to_string().contains("holds files already"), "{error}");
        let error = RunDir::create(Some(&temp.path().join("notes.txt/run")), "").unwrap_err();
        assert_eq!(error.kind.exit_code(), 73);
        assert!(error.to_string().contains("notes.txt"), "{error}");
    }

    #[test]
    fn names_are_made_safe() {
        assert_eq!(safe_name("nextvlad-train_v1.2"), "nextvlad-train_v1.2");
        assert_eq!(safe_name("../../etc/x y"), "-..-etc-x-y");
        assert_eq!(safe_name(".."), "graph");
    }
}
