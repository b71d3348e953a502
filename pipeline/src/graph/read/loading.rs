//! What all steps of loading a graph share: the stage types, the messages, and the texts with the places they come
//! from.

use std::path::{Path, PathBuf};

use super::syntax::{self, Data, Node};
use super::variables::{self, Variables};
use crate::graph::report::collect::Report;
use crate::graph::report::diagnostic::{Diagnostic, Place};
use crate::graph::report::findings::Findings;
use crate::graph::report::words;
use crate::stage::component::{CheckContext, Registry};

/// The state of loading a graph.
pub(crate) struct Loading<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) report: Report,
    pub(crate) variables: Variables<'a>,
    /// Whether a stage of another graph names this one.
    pub(crate) is_inner: bool,
    /// What the `--set use.NAME=PATH` give, as `NAME=PATH`, each with its place.
    pub(crate) set_configs: Vec<(Place, String)>,
    /// What the types of the stages find wrong.
    pub(crate) findings: Findings,
    sources: Vec<Source>,
}

/// A text that values come from.
#[derive(Debug, Clone)]
struct Source {
    /// The absolute directory that relative paths in the text are relative to.
    base: PathBuf,
    /// The directory `base` in the form in which users named it, for messages.
    shown: PathBuf,
    text: String,
    is_override: bool,
}

impl<'a> Loading<'a> {
    pub(crate) fn new(registry: &'a Registry, variables: Variables<'a>) -> Self {
        Self {
            registry,
            report: Report::new(),
            variables,
            is_inner: false,
            set_configs: Vec::new(),
            findings: Findings::default(),
            sources: Vec::new(),
        }
    }

    /// The surroundings in which stage types check their stages.
    pub(crate) fn check_context(&self) -> CheckContext<'a> {
        let mut context = CheckContext::new(self.registry);
        context.is_inner = self.is_inner;
        context
    }

    /// Adds a file: its name for messages, the directory in which it lies, and its text.
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

    /// The directory of [`Loading::base`] in the form in which users named it.
    pub(crate) fn shown_base(&self, place: Place) -> &Path {
        self.sources.get(place.file).map_or(Path::new(""), |s| s.shown.as_path())
    }

    /// The text that stands at a place.
    pub(crate) fn written(&self, place: Place) -> &str {
        self.sources.get(place.file).and_then(|s| s.text.get(place.start..place.end)).unwrap_or("")
    }

    /// Whether the place is in a `--set`.
    pub(crate) fn is_override(&self, place: Place) -> bool {
        self.sources.get(place.file).is_some_and(|s| s.is_override)
    }

    /// The text with its variables replaced. `None` if that is not possible, which was then reported.
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

    /// The value that stands for a text with variables where a key takes no text: `"${SIZE}"` is the number that the
    /// variable holds, and `"${LAYERS}"` the list. If the variables hold no such value, the text itself comes back, with
    /// its variables replaced. `None` if they cannot be replaced, which was then reported.
    pub(crate) fn typed(&mut self, node: &Node) -> Option<Node> {
        let Data::Text(text) = &node.data else { return Some(node.clone()) };
        if !text.contains("${") {
            return Some(node.clone());
        }
        let text = self.expand(node.place, text)?;
        let as_text = || Node { data: Data::Text(variables::escape(&text)), ..node.clone() };
        Some(syntax::literal(&text, node.place).unwrap_or_else(as_text))
    }

    /// A list of texts, or a single text, with variables replaced. Names of configs and paths are such lists. `None` if
    /// the value is something else, which was then reported.
    pub(crate) fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<(Place, String)>> {
        match &node.data {
            Data::Text(text) => Some(vec![(node.place, self.expand(node.place, text)?)]),
            Data::List(list) => {
                let texts = list.iter().map(|item| match &item.data {
                    Data::Text(text) => Some((item.place, self.expand(item.place, text)?)),
                    other => self.wrong(item, &format!("{what} must be a list of texts"), other),
                });
                // Every element is looked at, so that everything that is wrong is reported.
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

    /// Reports a name that is not among `names`.
    pub(crate) fn unknown(&mut self, place: Place, message: String, word: &str, names: &[&str], what: &str) {
        let nearest = self.report.nearest(word, names.iter().copied());
        let mut diagnostic = Diagnostic::error(place, message).nearest(nearest);
        if !names.is_empty() {
            diagnostic = diagnostic.help(format!("{what}: {}", words::list(names.iter().copied(), "and")));
        }
        self.report.push(diagnostic);
    }
}
