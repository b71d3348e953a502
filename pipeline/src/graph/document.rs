//! What a graph file and the `--set`s say, before anything is known of stage types.
//!
//! Law: a `--set` replaces what the file says of the same key, and nothing else.

use std::time::Duration;

use super::context::Loading;
use super::diagnostic::{Diagnostic, Place};
use super::overrides::Override;
use super::syntax::{self, Data, Entry, Node, Tree};
use super::{quantities, words};

/// The keys of `[graph]`.
const GRAPH_KEYS: [&str; 5] = ["name", "seed", "description", "stall_timeout", "memory"];
/// The tables of a graph.
const TABLES: [&str; 3] = ["graph", "use", "stages"];
/// Every stage is a thread.
const MOST_STAGES: usize = 1024;

/// A graph as written.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// The entries of `[graph]`.
    pub(crate) graph: Vec<Entry>,
    /// The entries of `[use]`.
    pub(crate) uses: Vec<Entry>,
    /// `[use]` holds something that could not be read.
    pub(crate) uses_damaged: bool,
    /// The stages in the order of the file.
    pub(crate) stages: Vec<WrittenStage>,
    /// A table could not be read: any stage may be missing.
    pub(crate) lost_table: bool,
}

/// A stage as written.
#[derive(Debug)]
pub(crate) struct WrittenStage {
    pub(crate) name: String,
    /// `[stages.NAME]`.
    pub(crate) header: Place,
    pub(crate) entries: Vec<Entry>,
    /// A line of it could not be read: what is missing may have stood there.
    pub(crate) damaged: bool,
}

impl WrittenStage {
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }
}

/// Sorts the tree of a graph file into tables.
pub(crate) fn read(tree: Tree, loading: &mut Loading<'_>) -> Document {
    let mut document = Document { lost_table: tree.lost_table, ..Document::default() };
    for entry in tree.entries {
        match entry.key.as_str() {
            "graph" => document.graph = table(entry, "[graph]", loading).unwrap_or_default(),
            "use" => match table(entry, "[use]", loading) {
                Some(entries) => document.uses = entries,
                None => document.uses_damaged = true,
            },
            "stages" => match table(entry, "[stages.NAME]", loading) {
                Some(entries) => document.stages = stages(entries, loading),
                None => document.lost_table = true,
            },
            other => {
                let message = format!("a graph has no table or key {}", words::name(other));
                loading.unknown(entry.place, message, other, &TABLES, "its tables are");
            }
        }
    }
    mark_damage(&mut document, &tree.lost_lines);
    document
}

fn table(entry: Entry, wanted: &str, loading: &mut Loading<'_>) -> Option<Vec<Entry>> {
    match entry.node.data {
        Data::Table(entries) => Some(entries),
        Data::Broken => None,
        other => {
            let message =
                format!("{} must be a table `{wanted}`, not {}", words::name(&entry.key), other.in_words());
            loading.report.push(Diagnostic::error(entry.node.place, message));
            None
        }
    }
}

fn stages(entries: Vec<Entry>, loading: &mut Loading<'_>) -> Vec<WrittenStage> {
    if let Some(entry) = entries.get(MOST_STAGES) {
        let message = format!("a graph has at most {MOST_STAGES} stages, this one has {}", entries.len());
        loading.report.push(Diagnostic::error(entry.place, message));
    }
    let mut stages = Vec::new();
    for entry in entries.into_iter().take(MOST_STAGES) {
        if !is_name(&entry.key) {
            let message = format!("{} cannot be the name of a stage", words::quoted(&entry.key));
            loading.report.push(
                Diagnostic::error(entry.place, message)
                    .help("a name holds up to 64 letters from a to z, digits, `_` and `-`"),
            );
        }
        let (name, header) = (entry.key.clone(), entry.node.place);
        let damaged = matches!(entry.node.data, Data::Broken);
        let entries = table(entry, "[stages.NAME]", loading).unwrap_or_default();
        stages.push(WrittenStage { name, header, entries, damaged });
    }
    stages
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// A line that cannot be read belongs to the table whose header stands above it.
fn mark_damage(document: &mut Document, lost_lines: &[usize]) {
    for &line in lost_lines {
        let above = document.stages.iter_mut().filter(|s| s.header.start <= line);
        if let Some(stage) = above.max_by_key(|s| s.header.start) {
            stage.damaged = true;
        }
        document.uses_damaged = true;
    }
}

/// Applies the `--set`s in order; `sources` are their texts' ids.
pub(crate) fn apply(
    document: &mut Document,
    overrides: &[Override],
    sources: &[usize],
    loading: &mut Loading<'_>,
) {
    for (set, &file) in overrides.iter().zip(sources) {
        let offset = set.key.len() + 1;
        let node = syntax::parse_value(file, &set.value, offset, &mut loading.report);
        let place = |start: usize, len: usize| Place { file, start, end: start + len };
        let parts = set.key.split('.').collect::<Vec<_>>();
        let (entries, key, start) = match parts.as_slice() {
            ["graph", key] => (&mut document.graph, *key, 6),
            ["use", key] => (&mut document.uses, *key, 4),
            ["stages", stage, key] => {
                let start = 7 + stage.len() + 1;
                match document.stages.iter().position(|s| s.name == *stage) {
                    Some(index) => (&mut document.stages[index].entries, *key, start),
                    None if document.lost_table => continue,
                    None => {
                        let names = document.stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>();
                        let message =
                            format!("`--set {}`: there is no stage {}", set.key, words::name(stage));
                        loading.unknown(place(7, stage.len()), message, stage, &names, "the stages are");
                        continue;
                    }
                }
            }
            _ => {
                let first = parts.first().map_or(0, |p| p.len());
                let nearest = parts.first().and_then(|p| words::nearest(p, TABLES));
                loading.report.push(
                    Diagnostic::error(place(0, first), format!("`--set {}`: nothing has this name", set.key))
                        .nearest(nearest)
                        .help("write `stages.STAGE.KEY`, `graph.KEY` or `use.NAME`"),
                );
                continue;
            }
        };
        let entry = Entry { key: key.to_owned(), place: place(start, key.len()), node };
        match entries.iter_mut().find(|e| e.key == key) {
            Some(old) => *old = entry,
            None => entries.push(entry),
        }
    }
}

/// What `[graph]` says.
#[derive(Debug, Default)]
pub(crate) struct Heading {
    pub(crate) name: Option<String>,
    pub(crate) seed: Option<u64>,
    /// `Some(None)` is `off`.
    pub(crate) stall_timeout: Option<Option<Duration>>,
    pub(crate) memory: Option<usize>,
}

/// Reads `[graph]`.
pub(crate) fn heading(document: &Document, loading: &mut Loading<'_>) -> Heading {
    let mut heading = Heading::default();
    for entry in &document.graph {
        match (entry.key.as_str(), &entry.node.data) {
            (_, Data::Broken) => {}
            ("name", data) => heading.name = name(data, &entry.node, loading),
            ("description", Data::Text(text)) => {
                loading.expand(entry.node.place, text);
            }
            ("seed", Data::Integer(n)) if *n >= 0 => heading.seed = u64::try_from(*n).ok(),
            ("seed", data) => {
                let message = format!("`seed` must be a whole number of at least 0, not {}", data.in_words());
                let help = "leave it out for a fresh seed, which is printed and stored";
                loading.report.push(Diagnostic::error(entry.node.place, message).help(help));
            }
            ("stall_timeout", _) => heading.stall_timeout = quantities::timeout(&entry.node, loading),
            ("memory", _) => heading.memory = quantities::memory(&entry.node, loading),
            ("description", data) => {
                let message = format!("`description` must be a text, not {}", data.in_words());
                loading.report.push(Diagnostic::error(entry.node.place, message));
            }
            (other, _) => {
                let message = format!("{} is not a key of `[graph]`", words::name(other));
                loading.unknown(entry.place, message, other, &GRAPH_KEYS, "its keys are");
            }
        }
    }
    heading
}

fn name(data: &Data, node: &Node, loading: &mut Loading<'_>) -> Option<String> {
    // `--set graph.name=7` means the text.
    let text = match data {
        Data::Text(text) => text.clone(),
        _ if loading.is_override(node.place) => loading.written(node.place).to_owned(),
        _ => {
            let message = format!("`name` must be a text, not {}", data.in_words());
            loading.report.push(Diagnostic::error(node.place, message));
            return None;
        }
    };
    let text = loading.expand(node.place, &text)?;
    let usable = !text.trim().is_empty()
        && text.len() <= 128
        && !matches!(text.as_str(), "." | "..")
        && !text.contains(|c: char| c.is_control() || matches!(c, '/' | '\\'));
    if !usable {
        let message = format!("{} cannot be the name of a graph", words::quoted(&text));
        loading.report.push(
            Diagnostic::error(node.place, message)
                .help("run directories bear the name: up to 128 bytes, without `/` and `\\`"),
        );
    }
    usable.then_some(text)
}
