//! The directory that a run writes to.
//!
//! Law: no two runs share one, and no run writes into a directory that holds something already.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use framewise_pipeline::Failure;

/// Where run directories are made that nobody named.
const RUNS: &str = "runs";
/// The graph as it runs.
pub(crate) const GRAPH: &str = "graph.resolved.toml";
/// Every message of the run.
pub(crate) const LOG: &str = "log.jsonl";

/// A directory that belongs to this run alone.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    /// The directories that were made for it, innermost first.
    created: Vec<PathBuf>,
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

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the graph as it runs.
    ///
    /// # Errors
    /// `CannotWrite` naming the file.
    pub(crate) fn write_graph(&self, text: &str) -> Result<(), Failure> {
        let path = self.path.join(GRAPH);
        let temporary = self.path.join(format!(".{GRAPH}.tmp"));
        let write = || -> io::Result<()> {
            let mut file = File::create_new(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|error| {
            // Nothing reads the temporary name; if it stays, `discard` takes it away.
            let _ = fs::remove_file(&temporary);
            cannot_write(&path, &error)
        })
    }

    /// Takes away what was made for a run that could not begin. What a stage wrote stays, with the directory.
    pub(crate) fn discard(self) {
        for name in [GRAPH, LOG] {
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
        let mut entries = fs::read_dir(path).map_err(|e| cannot_write(path, &e))?;
        if entries.next().is_some() {
            let path = path.display();
            return Err(Failure::cannot_write(format!(
                "the run directory {path} holds files already; name a new or empty directory, or leave --run-dir out"
            )));
        }
        Ok(Self { path: path.to_owned(), created })
    }

    fn create_numbered(parent: &Path, name: &str) -> Result<Self, Failure> {
        let mut created = create_all(parent).map_err(|e| cannot_write(parent, &e))?;
        for number in 1u64.. {
            let path = parent.join(format!("{name}-{number}"));
            // Creating and testing in one step: of two runs only one gets a number.
            match fs::create_dir(&path) {
                Ok(()) => {
                    created.insert(0, path.clone());
                    return Ok(Self { path, created });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot_write(&path, &error)),
            }
        }
        Err(Failure::cannot_write(format!("no number is left for {}/{name}-N", parent.display())))
    }
}

/// Makes a directory and those above it; returns those that were not there, innermost first.
fn create_all(path: &Path) -> io::Result<Vec<PathBuf>> {
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
    fn numbers_are_given_once_and_gaps_are_used() {
        let temp = tempfile::tempdir().unwrap();
        let runs = temp.path().join("runs");
        let make = || RunDir::create_numbered(&runs, "a").unwrap();
        let (first, second, third) = (make(), make(), make());
        assert!(
            first.path().ends_with("a-1") && second.path().ends_with("a-2") && third.path().ends_with("a-3")
        );
        second.discard();
        assert!(make().path().ends_with("a-2"));
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
