//! The files that a person means: paths as they are, patterns that the shell did not expand, directories of data.
//!
//! Law: the order is that of the command line, and below a directory that of the names; nothing is left out unsaid.

use std::fs;
use std::path::{Path, PathBuf};

use framewise_pipeline::{ErrorKind, Failure};
use framewise_stages::files;
use framewise_stages::store::{self, StoreError};

use super::kind::Kind;
use super::read_failure;

/// A file to look at, or why there is none.
#[derive(Debug)]
pub(super) enum Target {
    /// A file, a checkpoint or a run directory.
    Path { path: PathBuf, bytes: u64 },
    /// What was named cannot be found or listed.
    Lost { path: PathBuf, failure: Failure },
    /// A file below a directory of data that holds no records, and is not named like one that should.
    PassedOver(PathBuf),
}

/// Every target, in order.
pub(super) fn expand(named: &[PathBuf]) -> Vec<Target> {
    let mut targets = Vec::new();
    for path in named {
        if let Err(failure) = expand_one(path, &mut targets) {
            targets.push(Target::Lost { path: path.clone(), failure });
        }
    }
    targets
}

fn expand_one(path: &Path, targets: &mut Vec<Target>) -> Result<(), Failure> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() && is_data(path) => {
            let before = targets.len();
            walk(path, targets)?;
            if targets.len() == before {
                let message = format!("{}: neither a checkpoint nor data is in it", path.display());
                return Err(Failure::new(ErrorKind::NotFound, message));
            }
            Ok(())
        }
        Ok(metadata) => {
            targets.push(Target::Path { path: path.to_owned(), bytes: metadata.len() });
            Ok(())
        }
        Err(error) => {
            let pattern = path.to_str().filter(|text| text.contains(['*', '?', '[']));
            let Some(pattern) = pattern else { return Err(read_failure(path, &error)) };
            let found = files::expand(&[pattern.to_owned()], Path::new(""))
                .map_err(|e| Failure::new(ErrorKind::NotFound, e))?;
            for path in found {
                let bytes = fs::metadata(&path).map_err(|e| read_failure(&path, &e))?.len();
                targets.push(Target::Path { path, bytes });
            }
            Ok(())
        }
    }
}

/// Whether a directory holds data: no checkpoint, and not the beginnings of a run.
fn is_data(path: &Path) -> bool {
    let is_run = path.join("checkpoints").is_dir() || path.join("graph.resolved.toml").is_file();
    if is_run {
        return false;
    }
    match store::find(path) {
        Err(StoreError::Missing { .. }) => true,
        // A data set may have a manifest.json of its own.
        Ok(found) if found.path == path => {
            !CHECKPOINT_FILES.iter().any(|name| path.join(name).exists()) && !is_named_checkpoint(path)
        }
        _ => false,
    }
}

/// Of a checkpoint, besides its manifest and the graph.
const CHECKPOINT_FILES: [&str; 2] = ["weights.safetensors", "moments.safetensors"];

fn is_named_checkpoint(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-"))
}

/// The files below a directory by their names. Hidden ones and what is no regular file are none.
fn walk(directory: &Path, targets: &mut Vec<Target>) -> Result<(), Failure> {
    let fail = |error: &_| read_failure(directory, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(|e| fail(&e))? {
        let entry = entry.map_err(|e| fail(&e))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    for path in paths {
        // A link to a directory could lead back to where it is.
        let is_link = path.is_symlink();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() && !is_link => walk(&path, targets)?,
            Ok(metadata) if metadata.is_file() => targets.push(if is_other(&path) {
                Target::PassedOver(path)
            } else {
                Target::Path { path, bytes: metadata.len() }
            }),
            Ok(_) => targets.push(Target::PassedOver(path)),
            Err(error) => targets.push(Target::Lost { failure: read_failure(&path, &error), path }),
        }
    }
    Ok(())
}

fn is_other(path: &Path) -> bool {
    !is_named_records(path) && Kind::of(path).is_ok_and(|kind| kind != Kind::Records)
}

/// Whether the name says that records should be inside.
pub(super) fn is_named_records(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(".tfrecord"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_patterns_are_expanded_in_order() {
        let temp = tempfile::tempdir().unwrap();
        let place = |name: &str| temp.path().join(name);
        fs::create_dir_all(place("data/deep")).unwrap();
        for name in ["data/b.tfrecord", "data/a.tfrecord", "data/deep/c.tfrecord", "data/.hidden"] {
            fs::write(place(name), b"").unwrap();
        }
        fs::write(place("data/README.md"), "what this is\n").unwrap();
        // Not a checkpoint's: nothing else of one is there.
        fs::write(place("data/manifest.json"), "{}\n").unwrap();
        fs::write(place("data/text.tfrecord"), "no records\n").unwrap();
        let named = [place("data"), place("data/[ab].tfrecord"), place("nowhere"), place("z*")];
        let found: Vec<_> = expand(&named)
            .into_iter()
            .map(|target| match target {
                Target::Path { path, .. } => path.strip_prefix(temp.path()).unwrap().display().to_string(),
                Target::PassedOver(path) => {
                    format!("passed over {}", path.strip_prefix(temp.path()).unwrap().display())
                }
                Target::Lost { path, failure } => {
                    format!(
                        "{} {}",
                        failure.kind.exit_code(),
                        path.strip_prefix(temp.path()).unwrap().display()
                    )
                }
            })
            .collect();
        let expected = [
            "passed over data/README.md",
            "data/a.tfrecord",
            "data/b.tfrecord",
            "data/deep/c.tfrecord",
            "passed over data/manifest.json",
            "data/text.tfrecord",
            "data/a.tfrecord",
            "data/b.tfrecord",
            "66 nowhere",
            "66 z*",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_run_and_an_empty_directory_are_no_data() {
        let temp = tempfile::tempdir().unwrap();
        let empty = temp.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert!(matches!(&expand(&[empty])[..], [Target::Lost { .. }]));
        // A damaged checkpoint is one, whatever is left of it.
        for name in ["step-00000001", "copied"] {
            fs::create_dir(temp.path().join(name)).unwrap();
            fs::write(temp.path().join(name).join("manifest.json"), "{}").unwrap();
        }
        fs::write(temp.path().join("copied/weights.safetensors"), "").unwrap();
        for name in ["step-00000001", "copied"] {
            assert!(matches!(&expand(&[temp.path().join(name)])[..], [Target::Path { .. }]), "{name}");
        }
        fs::create_dir_all(temp.path().join("run/checkpoints")).unwrap();
        assert!(matches!(&expand(&[temp.path().join("run")])[..], [Target::Path { .. }]));
    }
}
