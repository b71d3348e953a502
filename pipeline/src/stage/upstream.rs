//! The part of the graph that a stage type sees when it checks one of its stages: the stages from which the data come.

use crate::edge::error::{ErrorKind, Failure};
use crate::stage::ports::Ports;
use crate::stage::settings::Settings;

/// A stage of the graph, as the check of another stage sees it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Neighbour<'a> {
    /// The name of the stage in the graph.
    pub name: &'a str,
    /// The name of its type.
    pub type_name: &'a str,
    /// The settings of the stage, with defaults filled in.
    pub settings: &'a Settings,
    /// The ports of the stage. The outputs have their full payload types.
    pub ports: &'a Ports,
}

/// The stages from which the data of a stage come, the nearest first. Edges from delayed outputs, which close loops,
/// are not followed.
#[derive(Debug)]
pub struct Upstream<'a> {
    stages: Vec<Neighbour<'a>>,
}

/// A remark of a stage type about a stage and the stages before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    pub(crate) key: &'static str,
    /// The element of the key's list that the remark is about.
    pub(crate) entry: Option<usize>,
    pub(crate) message: String,
    pub(crate) is_error: bool,
    /// The kind of the failure to which an error would lead.
    pub(crate) kind: ErrorKind,
    pub(crate) hints: Vec<String>,
    /// The stage and the key whose value does not agree with that of `key`.
    pub(crate) other: Option<(String, &'static str)>,
}

impl<'a> Neighbour<'a> {
    pub(crate) fn new(name: &'a str, type_name: &'a str, settings: &'a Settings, ports: &'a Ports) -> Self {
        Self { name, type_name, settings, ports }
    }
}

impl<'a> Upstream<'a> {
    pub(crate) fn new(stages: Vec<Neighbour<'a>>) -> Self {
        Self { stages }
    }

    /// All stages before this one, the nearest first.
    pub fn iter(&self) -> impl Iterator<Item = &Neighbour<'a>> {
        self.stages.iter()
    }

    /// The nearest stage of this type.
    pub fn nearest(&self, type_name: &str) -> Option<&Neighbour<'a>> {
        self.iter().find(|stage| stage.type_name == type_name)
    }
}

/// The text without the numbers that `io::Error` adds for programmers.
pub(crate) fn without_code(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or("", |(_, behind)| behind))
}

impl Remark {
    /// Makes a remark because of which the graph is refused. It is shown at the value of `key`.
    pub fn error(key: &'static str, message: impl Into<String>) -> Self {
        let (entry, hints, other) = (None, Vec::new(), None);
        Self { key, entry, message: message.into(), is_error: true, kind: ErrorKind::Config, hints, other }
    }

    /// Makes a remark about something that can run but is hardly meant. It is shown at the value of `key`.
    pub fn warning(key: &'static str, message: impl Into<String>) -> Self {
        Self { is_error: false, ..Self::error(key, message) }
    }

    /// A remark about something with which the stage would fail.
    pub fn failure(key: &'static str, failure: &Failure) -> Self {
        Self::error(key, without_code(&failure.to_string())).of_kind(failure.kind)
    }

    /// Sets the kind of the failure to which the error would lead. Without it the graph itself is wrong.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Makes a warning of the remark.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.is_error = false;
        self
    }

    /// Shows the remark at this element of the key's list.
    #[must_use]
    pub fn at_entry(mut self, entry: impl Into<Option<usize>>) -> Self {
        self.entry = entry.into();
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    /// Whether the graph is refused because of the remark.
    pub fn is_error(&self) -> bool {
        self.is_error
    }

    /// The key at whose value the remark is shown.
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// Also shows the value of `key` in another stage, with which the value of this stage does not agree.
    #[must_use]
    pub fn against(mut self, other: &Neighbour<'_>, key: &'static str) -> Self {
        self.other = Some((other.name.to_owned(), key));
        self
    }
}
