//! A diagnostic: a message about what is wrong with a graph, which points into the text that the user wrote.

use std::fmt;

use crate::edge::error::ErrorKind;

/// A place: the bytes `start..end` of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The graph cannot run.
    Error,
    /// The graph can run, but does something that is hardly meant.
    Warning,
}

/// One thing that is wrong with a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub(super) severity: Severity,
    pub(super) kind: ErrorKind,
    pub(super) message: String,
    pub(super) primary: Option<(Place, String)>,
    pub(super) secondary: Vec<(Place, String)>,
    pub(super) notes: Vec<String>,
}

impl Diagnostic {
    pub(crate) fn error(place: impl Into<Option<Place>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            kind: ErrorKind::Config,
            message: message.into(),
            primary: place.into().map(|place| (place, String::new())),
            secondary: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn warning(place: impl Into<Option<Place>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    /// Sets the kind of the failure, which decides the exit code. Without it the graph itself is wrong.
    #[must_use]
    pub(crate) fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the words beside the caret.
    #[must_use]
    pub(crate) fn label(mut self, text: impl Into<String>) -> Self {
        if let Some((_, label)) = &mut self.primary {
            *label = text.into();
        }
        self
    }

    /// Writes `did you mean …` beside the caret, if there is a name.
    #[must_use]
    pub(crate) fn nearest(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.label(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// Adds a second place that has to do with the mistake.
    #[must_use]
    pub(crate) fn also(mut self, place: Place, text: impl Into<String>) -> Self {
        self.secondary.push((place, text.into()));
        self
    }

    #[must_use]
    pub(crate) fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    #[must_use]
    pub(crate) fn help(self, text: impl fmt::Display) -> Self {
        self.note(format!("help: {text}"))
    }

    /// What kind of failure an error is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// How much the diagnostic matters.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The words beside the caret. They are empty where the message says it all.
    pub fn beside_caret(&self) -> &str {
        self.primary.as_ref().map_or("", |(_, label)| label)
    }

    /// What to do about it: lines that begin with `help:`, and lines of detail.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}
