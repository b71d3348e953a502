//! The survey of what a graph touches outside of it, before anything runs: inputs, devices, outputs, and the room for
//! them.
//!
//! Law: nothing is written, and no data are read beyond the first bytes, the headers and a few first records of files.

use std::path::{Path, PathBuf};

use framewise_pipeline::graph::{Diagnostics, Loaded};
use framewise_pipeline::{Failure, Registry, Remark, Write};
use framewise_stages::io::{self, Room, Way};

use crate::text;

/// What was found outside of a graph.
#[derive(Debug)]
pub(crate) struct Outside {
    /// What is missing or unfit.
    pub(crate) found: Diagnostics,
    /// The stage that the first error is about, if there is an error.
    pub(crate) stage: Option<String>,
    /// The number of files that are read.
    pub(crate) files: u64,
    /// The bytes of these files.
    pub(crate) bytes: u64,
}

/// Surveys a graph whose run writes to `run_dir`, which need not be there yet. `resumes` says whether the run goes on
/// from a checkpoint.
pub(crate) fn survey(loaded: &Loaded, registry: &Registry, run_dir: &Path, resumes: bool) -> Outside {
    let mut survey = loaded.survey(registry, resumes);
    let outputs = outputs(&survey.writes, run_dir);
    survey.remarks.extend(outputs);
    let first = survey.remarks.iter().find(|(_, remark)| remark.is_error());
    Outside {
        stage: first.map(|(stage, _)| loaded.graph.stages[*stage].name.clone()),
        found: loaded.told(&survey),
        files: survey.files,
        bytes: survey.bytes,
    }
}

/// What stages will write to one file system.
struct Load<'w> {
    room: Room,
    bytes: u64,
    least: u64,
    /// The stage that writes most of it.
    most: (usize, &'w Write),
    path: PathBuf,
}

/// The outputs that cannot be written, and those for which there is no room.
fn outputs(writes: &[(usize, Write)], run_dir: &Path) -> Vec<(usize, Remark)> {
    let mut remarks = Vec::new();
    let mut loads: Vec<Load<'_>> = Vec::new();
    for (stage, write) in writes {
        let path = run_dir.join(&write.path);
        let room = match room(write, &path, run_dir) {
            Ok(Some(room)) => room,
            Ok(None) => continue,
            Err(failure) => {
                remarks.push((*stage, Remark::failure(write.key, &failure)));
                continue;
            }
        };
        // A run that goes on replaces what is there.
        let there = if write.is_directory { io::bytes_in(&path) } else { 0 };
        let bytes = write.bytes.saturating_sub(there);
        match loads.iter_mut().find(|load| load.room.file_system == room.file_system) {
            Some(load) => {
                load.bytes = load.bytes.saturating_add(bytes);
                load.least = load.least.saturating_add(write.least);
                if write.bytes > load.most.1.bytes {
                    (load.most, load.path) = ((*stage, write), path);
                }
            }
            None => loads.push(Load { room, bytes, least: write.least, most: (*stage, write), path }),
        }
    }
    remarks.extend(loads.iter().filter_map(Load::remark));
    remarks
}

/// Looks whether an output can be written, and returns the room there. `None` for a stream, which needs none.
fn room(write: &Write, path: &Path, run_dir: &Path) -> Result<Option<Room>, Failure> {
    let refused = |path: &Path, error: std::io::Error| {
        Failure::cannot_write(format!("cannot write into {}: {error}", path.display()))
    };
    if write.is_directory {
        return io::room_in(path).map(Some).map_err(|error| refused(path, error));
    }
    if io::is_standard_output(&write.path) || io::way_to(path)? != Way::File {
        return Ok(None);
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    // The run directory itself is made when the run begins.
    if directory != run_dir && !directory.is_dir() && !directory.as_os_str().is_empty() {
        return Err(Failure::cannot_write(format!(
            "cannot write {}: there is no directory {}",
            path.display(),
            directory.display()
        )));
    }
    io::room_in(directory).map(Some).map_err(|error| refused(directory, error))
}

impl Load<'_> {
    /// The remark about a file system that is too small. It is an error if not even the least fits, and otherwise a
    /// warning, because room may be made while the run goes on.
    fn remark(&self) -> Option<(usize, Remark)> {
        let free = self.room.free.filter(|free| *free < self.bytes.max(self.least))?;
        let (stage, write) = self.most;
        let failure = Failure::cannot_write(format!(
            "about {} will be written, and {} are free on the file system of {}",
            text::bytes(self.bytes.max(self.least)),
            text::bytes(free),
            self.path.display()
        ));
        let hint = "free some space, keep fewer checkpoints (`keep_last`), or write to another file system";
        let remark = Remark::failure(write.key, &failure).hint(hint);
        Some((stage, if free < self.least { remark } else { remark.as_warning() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: &Path, bytes: u64) -> (usize, Write) {
        (0, Write { key: "path", path: path.to_owned(), is_directory: true, bytes, least: 0 })
    }

    fn shown(writes: &[(usize, Write)], run_dir: &Path) -> String {
        format!("{:?}", outputs(writes, run_dir))
    }

    #[test]
    fn the_bytes_of_all_outputs_on_a_file_system_count_together() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let free = io::room_in(at).unwrap().free.unwrap();
        let most = free / 4 * 3;
        assert_eq!(shown(&[directory(Path::new("checkpoints"), most)], &at.join("run")), "[]");
        let both = [directory(Path::new("checkpoints"), most), directory(&at.join("more"), most)];
        let shown = shown(&both, &at.join("run"));
        assert!(shown.contains("will be written, and ") && shown.contains("kind: CannotWrite"), "{shown}");
        assert_eq!(shown.matches("key: ").count(), 1, "{shown}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_and_a_file_in_none_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("file"), "").unwrap();
        let shown_directory = shown(&[directory(&at.join("file/below"), 1)], at);
        assert!(shown_directory.contains("is not a directory"), "{shown_directory}");
        let file = |path: &str| {
            let write = Write { key: "path", path: path.into(), is_directory: false, bytes: 0, least: 0 };
            shown(&[(0, write)], &at.join("run"))
        };
        assert_eq!([file("out.csv"), file("-")], ["[]", "[]"]);
        assert!(file("sub/out.csv").contains("there is no directory"), "{}", file("sub/out.csv"));
    }
}
