//! The targets: the files that a person means by paths, by patterns that the shell did not expand, and by directories
//! of data.
//!
//! Laws: the order is that of the command line, and below a directory that of the names. Nothing is left out without a
//! word.

use std::path::{Path, PathBuf};

use framewise_pipeline::{ErrorKind, Failure, is_glob};
use framewise_stages::io::{self, Kind, patterns};
use framewise_stages::read_failure;
use framewise_stages::store::{self, StoreError};

use super::kind;

/// A file to look at, or the reason why there is none.
#[derive(Debug)]
pub(super) enum Target {
    /// A file, a checkpoint or a run directory.
    Path { path: PathBuf, bytes: u64 },
    /// Something was named that cannot be found or listed.
    Lost { path: PathBuf, failure: Failure },
    /// A file below a directory of data that holds no records, and is not named like one that should.
    PassedOver(PathBuf),
}

/// Finds every target, in order.
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
    match io::kind_and_length(path) {
        Ok((Kind::Directory, _)) if is_data(path) => {
            let before = targets.len();
            walk(path, targets)?;
            if targets.len() == before {
                let message = format!("{}: neither a checkpoint nor data is in it", path.display());
                return Err(Failure::new(ErrorKind::NotFound, message));
            }
            Ok(())
        }
        Ok((_, bytes)) => {
            targets.push(Target::Path { path: path.to_owned(), bytes });
            Ok(())
        }
        Err(error) => {
            let pattern = path.to_str().filter(|text| is_glob(text));
            let Some(pattern) = pattern else { return Err(read_failure(path, &error)) };
            let found = patterns::expand(&[pattern.to_owned()], Path::new(""))
                .map_err(|e| Failure::new(ErrorKind::NotFound, e))?;
            for path in found {
                let (_, bytes) = io::kind_and_length(&path).map_err(|e| read_failure(&path, &e))?;
                targets.push(Target::Path { path, bytes });
            }
            Ok(())
        }
    }
}

/// Whether a directory holds data. A checkpoint does not, and neither does a run directory.
fn is_data(path: &Path) -> bool {
    let is_run = path.join("checkpoints").is_dir() || path.join("graph.resolved.toml").is_file();
    if is_run {
        return false;
    }
    match store::find(path) {
        Err(StoreError::Missing { .. }) => true,
        // A data set may have a manifest.json too.
        Ok(found) if found.path == path => {
            !CHECKPOINT_FILES.iter().any(|name| path.join(name).exists()) && !is_named_checkpoint(path)
        }
        _ => false,
    }
}

/// The files of a checkpoint other than its manifest and its graph.
const CHECKPOINT_FILES: [&str; 2] = ["weights.safetensors", "moments.safetensors"];

fn is_named_checkpoint(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-"))
}

/// The files below a directory, in the order of their names. Hidden files and what is not a regular file are left out.
fn walk(directory: &Path, targets: &mut Vec<Target>) -> Result<(), Failure> {
    let fail = |error: &_| read_failure(directory, error);
    let is_hidden = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
    for path in io::list(directory).map_err(|e| fail(&e))?.into_iter().filter(|path| !is_hidden(path)) {
        // A link to a directory could lead back to a directory above it.
        let is_link = path.is_symlink();
        match io::kind_and_length(&path) {
            Ok((Kind::Directory, _)) if !is_link => walk(&path, targets)?,
            Ok((Kind::File, bytes)) => targets.push(if is_other(&path) {
                Target::PassedOver(path)
            } else {
                Target::Path { path, bytes }
            }),
            Ok(_) => targets.push(Target::PassedOver(path)),
            Err(error) => targets.push(Target::Lost { failure: read_failure(&path, &error), path }),
        }
    }
    Ok(())
}

fn is_other(path: &Path) -> bool {
    !is_named_records(path) && kind::Kind::of(path).is_ok_and(|kind| kind != kind::Kind::Records)
}

/// Whether the name says that records should be inside.
pub(super) fn is_named_records(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(".tfrecord"))
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        // This manifest is not that of a checkpoint, because no other file of a checkpoint is there.
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
        // A damaged checkpoint counts as a checkpoint, whatever is left of it.
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
