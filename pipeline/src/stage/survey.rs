//! What a stage touches outside of its graph: the files that it reads, and the files and directories that it writes.
//!
//! A stage type tells this beforehand, given the settings of a stage. So everything that is missing is found before the
//! first item moves, and told with its place in the graph.

use std::io;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::edge::error::ErrorKind;
use crate::stage::key::{KeyKind, KeySpec, is_glob};
use crate::stage::settings::Settings;
use crate::stage::upstream::{Remark, without_code};

/// What a stage touches outside of its graph, and what of it is missing or unfit.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Survey {
    /// The number of files that the stage reads.
    pub files: u64,
    /// The bytes of these files.
    pub bytes: u64,
    /// What the stage writes.
    pub writes: Vec<Write>,
    /// What is missing or unfit.
    pub remarks: Vec<Remark>,
    /// The graphs that the stage runs. What their stages touch is surveyed too.
    pub graphs: Vec<InnerGraph>,
}

/// A graph that a stage runs.
#[derive(Debug, Clone)]
pub struct InnerGraph {
    /// The key that names the graph.
    pub key: &'static str,
    /// The path of the graph.
    pub path: PathBuf,
    /// The configs of its `[use]` that the stage replaces: their names, and their files.
    pub configs: Vec<(String, Value)>,
    /// The values that the stage changes in it.
    pub changes: Vec<InnerChange>,
}

/// A value that a stage changes in the graph that it runs.
#[derive(Debug, Clone)]
pub struct InnerChange {
    /// The stage of the inner graph.
    pub stage: String,
    /// The key of that stage.
    pub key: &'static str,
    /// The new value.
    pub value: Value,
    /// The key of the outer stage that gives the value. What is wrong with the value is shown there.
    pub by: &'static str,
}

/// A file or a directory that a stage writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The key that names it, or that says how much is written.
    pub key: &'static str,
    /// The path. A relative path lies in the directory of the run.
    pub path: PathBuf,
    /// Whether files are written into a directory of this path.
    pub is_directory: bool,
    /// The most bytes that will be there at once, those that are there already included. 0 where that is not known
    /// beforehand.
    pub bytes: u64,
    /// The fewest bytes with which anything can be written, such as those of one checkpoint. 0 where that is not known.
    pub least: u64,
}

impl Survey {
    /// What the keys of a stage tell by themselves: the file of a [`KeyKind::Path`] must be there, and so must the
    /// entries of [`KeyKind::Paths`], except patterns and lists. Outputs are written, how much is not known.
    pub fn of_keys(keys: &[KeySpec], settings: &Settings) -> Self {
        let mut survey = Self::default();
        for spec in keys {
            match (&spec.kind, settings.get(spec.name)) {
                (KeyKind::Path, Some(Value::String(path))) if !path.is_empty() => {
                    survey.look_up(spec.name, None, Path::new(path));
                }
                (KeyKind::Paths, Some(Value::Array(entries))) => {
                    let plain = |path: &&str| !path.starts_with('@') && !is_glob(path);
                    let paths = entries.iter().map(|entry| entry.as_str().filter(plain));
                    for (index, path) in paths.enumerate().filter_map(|(index, path)| Some((index, path?))) {
                        survey.look_up(spec.name, Some(index), Path::new(path));
                    }
                }
                (KeyKind::OutputPath | KeyKind::OutputDirectory, Some(Value::String(path)))
                    if !path.is_empty() =>
                {
                    let is_directory = spec.kind == KeyKind::OutputDirectory;
                    survey.writes.push(Write {
                        key: spec.name,
                        path: path.into(),
                        is_directory,
                        bytes: 0,
                        least: 0,
                    });
                }
                _ => {}
            }
        }
        survey
    }

    /// Looks whether something is there, and counts it as read.
    fn look_up(&mut self, key: &'static str, entry: Option<usize>, path: &Path) {
        match path.metadata() {
            Ok(metadata) => self.reads(1, if metadata.is_file() { metadata.len() } else { 0 }),
            Err(error) => self.remarks.push(Remark::missing(key, path, &error).at_entry(entry)),
        }
    }

    /// Counts files that the stage reads, and their bytes.
    pub fn reads(&mut self, files: u64, bytes: u64) {
        self.files += files;
        self.bytes += bytes;
    }

    /// Adds what another part of the stage's configuration tells.
    pub fn extend(&mut self, other: Survey) {
        self.reads(other.files, other.bytes);
        self.writes.extend(other.writes);
        self.remarks.extend(other.remarks);
        self.graphs.extend(other.graphs);
    }
}

impl Remark {
    /// A remark about a path that cannot be looked at.
    pub fn missing(key: &'static str, path: &Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Remark::error(key, without_code(&format!("{}: {error}", path.display()))).of_kind(kind)
    }
}
