//! What every step of loading a graph shares: the stage types, the messages, and where texts come from.

use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Place, Report};
use super::syntax::{Data, Node};
use super::variables::Variables;
use super::words;
use crate::component::Registry;

/// The state of a load.
pub(crate) struct Loading<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) report: Report,
    pub(crate) variables: Variables<'a>,
    sources: Vec<Source>,
}

/// A text that values come from.
#[derive(Debug, Clone)]
struct Source {
    /// What relative paths in it are relative to; absolute.
    base: PathBuf,
    /// The same directory as users named it, for messages.
    shown: PathBuf,
    text: String,
    is_override: bool,
}

impl<'a> Loading<'a> {
    pub(crate) fn new(registry: &'a Registry, variables: Variables<'a>) -> Self {
        Self { registry, report: Report::new(), variables, sources: Vec::new() }
    }

    /// Adds a file: its name for messages, the directory it lies in, its text.
    pub(crate) fn add_file(&mut self, name: &Path, base: PathBuf, text: &str) -> usize {
        let shown = name.parent().unwrap_or(Path::new("")).to_owned();
        self.sources.push(Source { base, shown, text: text.to_owned(), is_override: false });
        self.report.add_file(&name.to_string_lossy(), text)
    }

    /// Adds the text of a `--set`.
    pub(crate) fn add_override(&mut self, base: PathBuf, text: &str) -> usize {
        self.sources.push(Source { base, shown: PathBuf::new(), text: text.to_owned(), is_override: true });
        self.report.add_file("--set", text)
    }

    /// The directory that relative paths at this place are relative to.
    pub(crate) fn base(&self, place: Place) -> &Path {
        self.sources.get(place.file).map_or(Path::new("/"), |s| s.base.as_path())
    }

    /// The same directory as users named it.
    pub(crate) fn shown_base(&self, place: Place) -> &Path {
        self.sources.get(place.file).map_or(Path::new(""), |s| s.shown.as_path())
    }

    /// What stands at a place.
    pub(crate) fn written(&self, place: Place) -> &str {
        self.sources.get(place.file).and_then(|s| s.text.get(place.start..place.end)).unwrap_or("")
    }

    /// Whether the place is in a `--set`.
    pub(crate) fn is_override(&self, place: Place) -> bool {
        self.sources.get(place.file).is_some_and(|s| s.is_override)
    }

    /// The text with its variables replaced; `None` after a report.
    pub(crate) fn expand(&mut self, place: Place, text: &str) -> Option<String> {
        if !text.contains('$') {
            return Some(text.to_owned());
        }
        match self.variables.expand(text) {
            Ok(text) => Some(text),
            Err(error) => {
                let within = self.written(place).find(&error.reference).map(|at| Place {
                    start: place.start + at,
                    end: place.start + at + error.reference.len(),
                    ..place
                });
                let diagnostic = Diagnostic::error(within.unwrap_or(place), error.message);
                self.report.push(match error.help {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic,
                });
                None
            }
        }
    }

    /// A list of texts, or one text, with variables replaced: names of configs, paths. `None` after a report.
    pub(crate) fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<(Place, String)>> {
        match &node.data {
            Data::Text(text) => Some(vec![(node.place, self.expand(node.place, text)?)]),
            Data::List(list) => {
                let texts = list.iter().map(|item| match &item.data {
                    Data::Text(text) => Some((item.place, self.expand(item.place, text)?)),
                    other => self.wrong(item, &format!("{what} must be a list of texts"), other),
                });
                // Every element is looked at, so that all that is wrong is said.
                texts.collect::<Vec<_>>().into_iter().collect()
            }
            other => self.wrong(node, &format!("{what} must be a text or a list of texts"), other),
        }
    }

    fn wrong<T>(&mut self, node: &Node, message: &str, data: &Data) -> Option<T> {
        if !matches!(data, Data::Broken) {
            let message = format!("{message}, not {}", data.in_words());
            self.report.push(Diagnostic::error(node.place, message));
        }
        None
    }

    /// Reports a name that is none of `names`.
    pub(crate) fn unknown(&mut self, place: Place, message: String, word: &str, names: &[&str], what: &str) {
        let nearest = self.report.nearest(word, names.iter().copied());
        let mut diagnostic = Diagnostic::error(place, message).nearest(nearest);
        if !names.is_empty() {
            diagnostic = diagnostic.help(format!("{what}: {}", words::list(names.iter().copied(), "and")));
        }
        self.report.push(diagnostic);
    }
}
