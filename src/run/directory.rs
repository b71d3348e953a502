//! The directory that a run writes to.
//!
//! Law: no two runs share one at a time, and no run writes into a directory that holds something already, unless it
//! goes on there.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use framewise_pipeline::Failure;
use framewise_stages::store;

use super::lock::{LOCK, Lock};
use crate::exit;

/// Where run directories are made that nobody named.
const RUNS: &str = "runs";
/// The graph as it runs.
pub(crate) const GRAPH: &str = "graph.resolved.toml";
/// Every message of the run.
pub(crate) const LOG: &str = "log.jsonl";
/// The files that a run appends lines to.
const APPENDED: [&str; 3] = [LOG, "metrics.jsonl", "rejected.jsonl"];

/// A directory that belongs to this run alone.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    /// The directories that were made for it, innermost first.
    created: Vec<PathBuf>,
    /// Whether an earlier run of this graph was here and this one goes on.
    reopened: bool,
    lock: Lock,
}

impl RunDir {
    /// Makes the directory `wanted`, or `runs/NAME-N` with the first number that is free.
    ///
    /// # Errors
    /// `CannotWrite`, naming the directory, when it cannot be made or holds something already.
    pub(crate) fn create(wanted: Option<&Path>, graph_name: &str) -> Result<Self, Failure> {
        match wanted {
            Some(path) => Self::create_named(path),
            None => Self::create_numbered(Path::new(RUNS), &safe_name(graph_name)),
        }
    }

    /// Takes the directory of an earlier run, to go on in it. Half a line that a killed process left at the end of a
    /// log is cut off, half a file removed.
    ///
    /// # Errors
    /// `CannotWrite` when another process is running there, or a file cannot be written.
    pub(crate) fn reopen(path: &Path) -> Result<Self, Failure> {
        let lock = Lock::take(path)?;
        store::remove_unfinished(path).map_err(exit::store_failure)?;
        for name in APPENDED {
            let log = path.join(name);
            cut_half_line(&log).map_err(|e| cannot_write(&log, &e))?;
        }
        Ok(Self { path: path.to_owned(), created: Vec::new(), reopened: true, lock })
    }

    /// Whether nothing keeps a second run out of it.
    pub(crate) fn is_unlocked(&self) -> bool {
        self.lock.unsupported
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the graph as it runs, whole or not at all.
    ///
    /// # Errors
    /// `CannotWrite` naming the file.
    pub(crate) fn write_graph(&self, text: &str) -> Result<(), Failure> {
        let path = self.path.join(GRAPH);
        store::write_file(&path, text.as_bytes()).map_err(Failure::cannot_write)
    }

    /// Takes away what was made for a run that could not begin. What a stage wrote stays, with the directory; so does
    /// everything of an earlier run.
    pub(crate) fn discard(self) {
        if self.reopened {
            return;
        }
        for name in [GRAPH, LOG, LOCK] {
            // A file that is not there, or a directory that is not empty, is as it should be.
            let _ = fs::remove_file(self.path.join(name));
        }
        for directory in &self.created {
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
    }

    fn create_named(path: &Path) -> Result<Self, Failure> {
        let created = create_all(path).map_err(|e| cannot_write(path, &e))?;
        check_empty(path)?;
        let lock = Lock::take(path)?;
        // Another run may have been here between the two.
        check_empty(path)?;
        Ok(Self { path: path.to_owned(), created, reopened: false, lock })
    }

    fn create_numbered(parent: &Path, name: &str) -> Result<Self, Failure> {
        let mut created = create_all(parent).map_err(|e| cannot_write(parent, &e))?;
        // Above all that are there, so that the highest number is the newest.
        let first = numbered(parent, name).map_err(|e| cannot_write(parent, &e))?;
        let first = first.last().map_or(1, |(number, _)| number.saturating_add(1));
        for number in first.. {
            let path = parent.join(format!("{name}-{number}"));
            // Creating and testing in one step: of two runs only one gets a number.
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

/// The run directories of a graph below `runs/`, the oldest first.
///
/// # Errors
/// The directory is there and cannot be listed.
pub(crate) fn runs_of(graph_name: &str) -> io::Result<Vec<PathBuf>> {
    let runs = numbered(Path::new(RUNS), &safe_name(graph_name))?;
    Ok(runs.into_iter().map(|(_, path)| path).collect())
}

/// The directories `NAME-N` in `parent` by their number.
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
        // As it is written: `+1` and `01` are names of other things.
        let number = number.and_then(|text| text.parse::<u64>().ok().filter(|n| n.to_string() == text));
        if let (Some(number), true) = (number, entry.path().is_dir()) {
            found.push((number, parent.join(file_name)));
        }
    }
    found.sort();
    Ok(found)
}

/// Only a lock that nobody holds may lie there.
fn check_empty(path: &Path) -> Result<(), Failure> {
    for entry in fs::read_dir(path).map_err(|e| cannot_write(path, &e))? {
        if entry.map_err(|e| cannot_write(path, &e))?.file_name() != LOCK {
            let path = path.display();
            return Err(Failure::cannot_write(format!(
                "the run directory {path} holds files already; name a new or empty directory, or leave --run-dir out; \
                 `--resume {path}` goes on with the run that is in it"
            )));
        }
    }
    Ok(())
}

/// Cuts off what stands behind the last end of a line.
fn cut_half_line(path: &Path) -> io::Result<()> {
    const BLOCK: u64 = 4096;
    let mut file = match fs::OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let length = file.metadata()?.len();
    let mut end = length;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        (&mut file).take(end - start).read_to_end(&mut block)?;
        if let Some(place) = block.iter().rposition(|byte| *byte == b'\n') {
            end = start + place as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length { file.set_len(end) } else { Ok(()) }
}

/// Makes a directory and those above it; returns those that were not there, innermost first.
pub(crate) fn create_all(path: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists());
    let missing = missing.map(Path::to_owned).collect();
    fs::create_dir_all(path)?;
    Ok(missing)
}

/// A graph's name as the name of a directory.
fn safe_name(graph_name: &str) -> String {
    let keep = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = graph_name.chars().take(100).map(keep).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "graph".to_owned() } else { name.to_owned() }
}

/// The failure to make or write something of the run.
pub(crate) fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::cannot_write(format!("cannot write {}: {error}", path.display()))
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
        // Neither another graph's directories nor files count.
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
    fn half_a_line_is_cut_off() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(LOG);
        let long = "x".repeat(10_000);
        let cases = [
            ("", ""),
            ("half", ""),
            ("a\n", "a\n"),
            ("a\nhalf", "a\n"),
            (&format!("{long}\n{long}"), &format!("{long}\n")),
        ];
        for (before, after) in cases {
            fs::write(&path, before).unwrap();
            drop(RunDir::reopen(temp.path()).unwrap());
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
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

        // A directory that the user had made stays.
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
