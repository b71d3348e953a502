//! Named configs: files of stage keys that `[use]` names and stages apply.
//!
//! Law: a name in `[use]` that no stage uses is an error, and so is a key in a config that has no effect in the graph.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::graph::read::document::Document;
use crate::graph::read::files::{self, Unreadable};
use crate::graph::read::loading::Loading;
use crate::graph::read::paths;
use crate::graph::read::syntax::{self, Data, Entry};
use crate::graph::report::diagnostic::{Diagnostic, Place};
use crate::graph::report::words;
use crate::stage::key::COMMON_KEYS;

/// All named configs of a graph.
#[derive(Debug, Default)]
pub(crate) struct Configs {
    names: Vec<Name>,
    files: Vec<ConfigFile>,
    /// Whether a line of `[use]` could not be read.
    damaged: bool,
}

#[derive(Debug)]
struct Name {
    name: String,
    place: Place,
    files: Vec<usize>,
    used: bool,
    /// Whether a part of this config could not be read.
    damaged: bool,
}

#[derive(Debug)]
struct ConfigFile {
    path: PathBuf,
    entries: Vec<Entry>,
    /// The stages that apply this file, as `` `forward` (nextvlad_forward) ``.
    users: BTreeSet<String>,
    /// The keys that at least one of these stages knows.
    known: BTreeSet<&'static str>,
    /// Whether a stage of an unknown type applies this file.
    uncertain: bool,
    /// Whether a line of this file could not be read.
    damaged: bool,
}

impl Configs {
    /// Reads every file that `[use]` names.
    pub(crate) fn load(document: &Document, loading: &mut Loading<'_>) -> Self {
        let mut configs = Self { damaged: document.uses_damaged, ..Self::default() };
        for entry in &document.uses {
            let what = format!("the config {}", words::name(&entry.key));
            let paths = loading.texts(&entry.node, &what);
            let files = paths.iter().flatten().map(|(place, path)| configs.file(*place, path, loading));
            let files = files.collect::<Vec<_>>();
            let damaged = paths.is_none() || files.iter().any(|f| f.is_none_or(|f| configs.files[f].damaged));
            configs.names.push(Name {
                name: entry.key.clone(),
                place: entry.place,
                files: files.into_iter().flatten().collect(),
                used: false,
                damaged,
            });
        }
        configs
    }

    /// The config as a stage applies it. `None` when there is no such config.
    pub(crate) fn apply(&mut self, name: &str) -> Option<AppliedConfig<'_>> {
        let name = self.names.iter_mut().find(|n| n.name == name)?;
        name.used = true;
        Some(AppliedConfig { files: &mut self.files, chosen: &name.files })
    }

    /// The names in `[use]`.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.names.iter().map(|n| n.name.as_str()).collect()
    }

    /// Whether keys may be missing because a part of this config could not be read.
    pub(crate) fn is_damaged(&self, name: &str) -> bool {
        self.names.iter().find(|n| n.name == name).map_or(self.damaged, |n| n.damaged)
    }

    /// Whether a config may hold keys that are not known: it does not exist, or a part of it could not be read.
    pub(crate) fn lacks_parts(&self, name: &str) -> bool {
        self.names.iter().find(|n| n.name == name).is_none_or(|n| n.damaged)
    }

    /// Reports what has no effect. Call this when it is known which stages apply which configs.
    pub(crate) fn report_unused(&self, loading: &mut Loading<'_>) {
        for name in self.names.iter().filter(|n| !n.used) {
            let message = format!("the config {} has no effect: no stage names it", words::name(&name.name));
            loading.report.push(
                Diagnostic::error(name.place, message)
                    .help(format!("write `config = {}` in a stage, or remove it", words::quoted(&name.name))),
            );
        }
        for file in self.files.iter().filter(|f| !f.uncertain && !f.users.is_empty()) {
            for entry in file.entries.iter().filter(|e| !file.known.contains(e.key.as_str())) {
                file.report_key(entry, loading);
            }
        }
    }

    fn file(&mut self, place: Place, text: &str, loading: &mut Loading<'_>) -> Option<usize> {
        let path = paths::normal(loading.base(place), Path::new(text));
        if let Some(index) = self.files.iter().position(|f| f.path == path) {
            return Some(index);
        }
        let (entries, damaged) = read(&path, place, text, loading)?;
        let (users, known) = (BTreeSet::new(), BTreeSet::new());
        self.files.push(ConfigFile { path, entries, users, known, uncertain: false, damaged });
        Some(self.files.len() - 1)
    }
}

/// What the `--set use.NAME=PATH` give, as `NAME=PATH` with an absolute path, each with its place.
pub(crate) fn set(document: &Document, loading: &mut Loading<'_>) -> Vec<(Place, String)> {
    let mut set = Vec::new();
    for entry in &document.uses {
        if !loading.is_override(entry.place) {
            continue;
        }
        let what = format!("the config {}", words::name(&entry.key));
        // What cannot be read is reported by `Configs::load` too, in the same words.
        for (place, path) in loading.texts(&entry.node, &what).into_iter().flatten() {
            let path = paths::normal(loading.base(place), Path::new(&path));
            set.push((place, format!("{}={}", entry.key, path.display())));
        }
    }
    set
}

/// A config as a stage applies it.
pub(crate) struct AppliedConfig<'c> {
    files: &'c mut Vec<ConfigFile>,
    chosen: &'c [usize],
}

impl AppliedConfig<'_> {
    /// Notes that a stage whose type has these keys applies the config.
    pub(crate) fn used_by(&mut self, stage: &str, type_name: &str, keys: &[&'static str]) {
        for &index in self.chosen {
            let file = &mut self.files[index];
            file.users.insert(format!("{} ({type_name})", words::name(stage)));
            file.known.extend(keys);
        }
    }

    /// Notes that a stage applies the config whose keys are not known.
    pub(crate) fn used_by_unknown(&mut self) {
        for &index in self.chosen {
            self.files[index].uncertain = true;
        }
    }

    /// The entry of a key. A later file beats an earlier one.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.chosen.iter().rev().find_map(|&i| self.files[i].entries.iter().find(|e| e.key == key))
    }
}

impl ConfigFile {
    fn report_key(&self, entry: &Entry, loading: &mut Loading<'_>) {
        let key = words::name(&entry.key);
        let diagnostic = if COMMON_KEYS.contains(&entry.key.as_str()) {
            Diagnostic::error(entry.place, format!("the key {key} has no effect in a config"))
                .help(format!("{key} stands in the stage itself"))
        } else {
            let nearest = loading.report.nearest(&entry.key, self.known.iter().copied());
            let message = format!("the key {key} has no effect: no stage that applies this config knows it");
            let users = self.users.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
            Diagnostic::error(entry.place, message).nearest(nearest).help(format!("it is applied by {users}"))
        };
        loading.report.push(diagnostic);
    }
}

/// The names of the configs in the directory of a file, sorted.
fn near_files(path: &Path) -> Vec<String> {
    let entries = path.parent().and_then(|directory| std::fs::read_dir(directory).ok());
    let names = entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".toml")).collect();
    names.sort();
    names
}

/// The entries of a config file, and whether lines of it were lost. `None` if it cannot be read, which was then
/// reported.
fn read(path: &Path, place: Place, text: &str, loading: &mut Loading<'_>) -> Option<(Vec<Entry>, bool)> {
    let shown = paths::normal(loading.shown_base(place), Path::new(text));
    let base = path.parent().unwrap_or(Path::new("/")).to_owned();
    let contents = match files::read(path) {
        Ok(contents) => contents,
        Err(Unreadable::NotText { text, at }) => {
            let file = loading.add_file(&shown, base, &text);
            let place = Place { file, start: at, end: at + 1 };
            loading.report.push(Diagnostic::error(place, "this config is not UTF-8 text"));
            return None;
        }
        Err(unreadable) => {
            let message = format!(
                "the config {} cannot be read: {}",
                words::name(&shown.to_string_lossy()),
                unreadable.reason()
            );
            let near = near_files(path);
            let nearest = path
                .file_name()
                .and_then(|name| loading.report.nearest(name.to_str()?, near.iter().map(String::as_str)));
            loading.report.push(
                Diagnostic::error(place, message)
                    .nearest(nearest)
                    .help("a config's path is relative to the file that names it, or to the working directory in `--set`"),
            );
            return None;
        }
    };
    let file = loading.add_file(&shown, base, &contents);
    let tree = syntax::parse(file, &contents, &mut loading.report);
    let (nested, flat): (Vec<_>, Vec<_>) =
        tree.entries.into_iter().partition(|e| matches!(e.node.data, Data::Table(_)));
    for entry in nested {
        let message =
            format!("a config is a flat list of stage keys, {} is a table", words::name(&entry.key));
        loading.report.push(
            Diagnostic::error(entry.place, message)
                .help("write `key = value` lines only; stages stand in the graph"),
        );
    }
    Some((flat, tree.lost_table || !tree.lost_lines.is_empty()))
}
