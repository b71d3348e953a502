//! Single values that are given on the command line, such as `--set stages.batch.size=32`.
//!
//! Laws: a `--set` replaces what the file says about the same key or the same input port, and nothing else. A `--set` of
//! the `type` of a new stage adds the stage.

use std::str::FromStr;

use super::document::{Document, MOST_STAGES, TABLES, WrittenStage, check_name};
use super::loading::Loading;
use super::syntax::{self, Data, Entry, Node};
use crate::graph::report::diagnostic::{Diagnostic, Place};
use crate::graph::report::words;
use crate::stage::survey::{InnerChange, InnerGraph};

/// One `--set KEY=VALUE`, which beats what the files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// `stages.NAME.KEY`, `stages.NAME.from.PORT`, `graph.KEY` or `use.NAME`.
    pub key: String,
    /// The value in TOML. What is not valid TOML is taken as a text.
    pub value: String,
}

impl Override {
    /// The replacement of a config of `[use]` by other files.
    pub fn of_config(name: &str, files: &toml::Value) -> Self {
        Self { key: format!("use.{name}"), value: files.to_string() }
    }

    /// The text that messages point into.
    pub(crate) fn text(&self) -> String {
        format!("{}={}", self.key, self.value)
    }
}

impl InnerGraph {
    /// What the stage replaces and changes in the graph, each as a `--set` for it.
    pub fn overrides(&self) -> Vec<Override> {
        let configs = self.configs.iter().map(|(name, files)| Override::of_config(name, files));
        configs.chain(self.changes.iter().map(InnerChange::to_override)).collect()
    }
}

impl InnerChange {
    /// The change as a `--set` for the inner graph.
    pub fn to_override(&self) -> Override {
        Override { key: format!("stages.{}.{}", self.stage, self.key), value: self.value.to_string() }
    }
}

/// The error for an argument of `--set` that does not have the form `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form KEY=VALUE, such as `stages.batch.size=32`")]
pub struct OverrideError(String);

impl FromStr for Override {
    type Err = OverrideError;

    fn from_str(text: &str) -> Result<Self, OverrideError> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() })
            }
            _ => Err(OverrideError(text.to_owned())),
        }
    }
}

/// Applies the `--set`s in order. `sources` holds the ids of their texts.
pub(crate) fn apply(
    document: &mut Document,
    overrides: &[Override],
    sources: &[usize],
    loading: &mut Loading<'_>,
) {
    add_stages(document, overrides, sources, loading);
    for (set, &file) in overrides.iter().zip(sources) {
        let offset = set.key.len() + 1;
        let node = syntax::parse_value(file, &set.value, offset, &mut loading.report);
        let place = |start: usize, len: usize| Place { file, start, end: start + len };
        let entry = |key: &str, start: usize, node: Node| Entry {
            key: key.to_owned(),
            place: place(start, key.len()),
            node,
        };
        match set.key.split('.').collect::<Vec<_>>().as_slice() {
            ["graph", key] => replace(&mut document.graph, entry(key, 6, node)),
            ["use", key] => replace(&mut document.uses, entry(key, 4, node)),
            ["stages", name, key] => {
                let place_of_name = place(STAGES.len(), name.len());
                if let Some(stage) = stage(document, name, set, place_of_name, loading) {
                    stage.set(entry(key, place_of_name.end + 1, node));
                }
            }
            ["stages", name, from @ "from", port] => {
                let place_of_name = place(STAGES.len(), name.len());
                if let Some(stage) = stage(document, name, set, place_of_name, loading) {
                    let from = place(place_of_name.end + 1, from.len());
                    stage.set_port(entry(port, from.end + 1, node), from);
                }
            }
            parts => {
                let first = parts.first().copied().unwrap_or_default();
                let message = format!("`--set {}`: nothing has this name", set.key);
                loading.report.push(
                    Diagnostic::error(place(0, first.len()), message)
                        .nearest(words::nearest(first, TABLES))
                        .help(
                            "write `stages.STAGE.KEY`, `stages.STAGE.from.PORT`, `graph.KEY` or `use.NAME`",
                        ),
                );
            }
        }
    }
}

/// What stands before the name of a stage.
const STAGES: &str = "stages.";

/// Adds the stages whose `type` is set and which the file does not have.
fn add_stages(document: &mut Document, overrides: &[Override], sources: &[usize], loading: &mut Loading<'_>) {
    for (set, &file) in overrides.iter().zip(sources) {
        let ["stages", name, "type"] = *set.key.split('.').collect::<Vec<_>>() else { continue };
        if document.lost_table || document.stages.iter().any(|s| s.name == name) {
            continue;
        }
        let header = Place { file, start: STAGES.len(), end: STAGES.len() + name.len() };
        check_name(name, header, loading);
        if document.stages.len() == MOST_STAGES {
            let message = format!("a graph has at most {MOST_STAGES} stages, and this one would be one more");
            loading.report.push(Diagnostic::error(header, message));
            continue;
        }
        let (entries, ports) = (Vec::new(), Vec::new());
        document.stages.push(WrittenStage { name: name.to_owned(), header, entries, ports, damaged: false });
    }
}

/// The stage that a `--set` names. `None` if there is none, which was then reported.
fn stage<'d>(
    document: &'d mut Document,
    name: &str,
    set: &Override,
    place: Place,
    loading: &mut Loading<'_>,
) -> Option<&'d mut WrittenStage> {
    let Some(index) = document.stages.iter().position(|s| s.name == name) else {
        if !document.lost_table {
            let names = document.stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>();
            let message = format!("`--set {}`: there is no stage {}", set.key, words::name(name));
            loading.unknown(place, message, name, &names, "the stages are");
        }
        return None;
    };
    Some(&mut document.stages[index])
}

/// Puts an entry in the place of one with the same key, or else behind the others.
fn replace(entries: &mut Vec<Entry>, entry: Entry) {
    match entries.iter_mut().find(|e| e.key == entry.key) {
        Some(old) => *old = entry,
        None => entries.push(entry),
    }
}

impl WrittenStage {
    fn set(&mut self, entry: Entry) {
        if entry.key == "from" {
            // A whole `from` replaces the ports that were set before it, too.
            self.ports.clear();
        }
        replace(&mut self.entries, entry);
    }

    /// Connects one input port. `from` is the place of the word `from` in the option.
    fn set_port(&mut self, entry: Entry, from: Place) {
        match self.entries.iter_mut().find(|e| e.key == "from") {
            Some(Entry { node: Node { data: Data::Table(ports), .. }, .. }) => replace(ports, entry),
            // Which port a bare `from` connects is known only with the stage's type.
            Some(_) => replace(&mut self.ports, entry),
            None => {
                let place = Place { end: entry.node.place.end, ..from };
                let node = Node { place, data: Data::Table(vec![entry]) };
                self.entries.push(Entry { key: "from".to_owned(), place: from, node });
            }
        }
    }
}
