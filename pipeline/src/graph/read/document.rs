//! The document: what a graph file says, before anything is known of stage types. `overrides` applies the `--set`s to it.

use std::time::Duration;

use super::loading::Loading;
use super::quantities;
use super::syntax::{Data, Entry, Node, Tree};
use crate::graph::report::diagnostic::{Diagnostic, Place};
use crate::graph::report::words;

/// The keys of `[graph]`.
const GRAPH_KEYS: [&str; 5] = ["name", "seed", "description", "stall_timeout", "memory"];
/// The tables of a graph.
pub(super) const TABLES: [&str; 3] = ["graph", "use", "stages"];
/// The most stages of a graph. Each of them becomes a thread.
pub(super) const MOST_STAGES: usize = 1024;

/// A graph as it is written.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// The entries of `[graph]`.
    pub(crate) graph: Vec<Entry>,
    /// The entries of `[use]`.
    pub(crate) uses: Vec<Entry>,
    /// Whether `[use]` holds something that could not be read.
    pub(crate) uses_damaged: bool,
    /// The stages in the order of the file.
    pub(crate) stages: Vec<WrittenStage>,
    /// Whether a table could not be read. Any stage may then be missing.
    pub(crate) lost_table: bool,
}

/// A stage as it is written.
#[derive(Debug)]
pub(crate) struct WrittenStage {
    pub(crate) name: String,
    /// The place of the header `[stages.NAME]`.
    pub(crate) header: Place,
    pub(crate) entries: Vec<Entry>,
    /// The input ports that `--set stages.NAME.from.PORT` connects, where `from` of the file is not a table of ports.
    pub(crate) ports: Vec<Entry>,
    /// Whether a line of the stage could not be read. A key that is missing may have stood there.
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
                // The stages that were meant to stand there are not missed.
                document.lost_table |= words::nearest(other, TABLES) == Some("stages");
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
        check_name(&entry.key, entry.place, loading);
        let (name, header) = (entry.key.clone(), entry.node.place);
        let damaged = matches!(entry.node.data, Data::Broken);
        let entries = table(entry, "[stages.NAME]", loading).unwrap_or_default();
        stages.push(WrittenStage { name, header, entries, ports: Vec::new(), damaged });
    }
    stages
}

/// Reports what cannot be the name of a stage.
pub(super) fn check_name(name: &str, place: Place, loading: &mut Loading<'_>) {
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !is_name {
        let message = format!("{} cannot be the name of a stage", words::quoted(name));
        loading.report.push(
            Diagnostic::error(place, message)
                .help("a name holds up to 64 letters from a to z, digits, `_` and `-`"),
        );
    }
}

/// Marks the tables with lines that could not be read. Such a line belongs to the table whose header stands above it.
fn mark_damage(document: &mut Document, lost_lines: &[usize]) {
    for &line in lost_lines {
        let above = document.stages.iter_mut().filter(|s| s.header.start <= line);
        if let Some(stage) = above.max_by_key(|s| s.header.start) {
            stage.damaged = true;
        }
        document.uses_damaged = true;
    }
}

/// The values of `[graph]`.
#[derive(Debug, Default)]
pub(crate) struct Heading {
    pub(crate) name: Option<String>,
    pub(crate) seed: Option<u64>,
    /// `Some(None)` stands for `off`.
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
            ("seed", _) => heading.seed = seed(&entry.node, loading),
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

fn seed(node: &Node, loading: &mut Loading<'_>) -> Option<u64> {
    let node = loading.typed(node)?;
    match node.data {
        Data::Integer(n) if n >= 0 => u64::try_from(n).ok(),
        data => {
            let message = format!("`seed` must be a whole number of at least 0, not {}", data.in_words());
            let help = "leave it out for a fresh seed, which is printed and stored";
            loading.report.push(Diagnostic::error(node.place, message).help(help));
            None
        }
    }
}

fn name(data: &Data, node: &Node, loading: &mut Loading<'_>) -> Option<String> {
    // In `--set graph.name=7`, the value means the text `7`.
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
                .help("run directories have this name, so it has up to 128 bytes, without `/` and `\\`"),
        );
    }
    usable.then_some(text)
}
