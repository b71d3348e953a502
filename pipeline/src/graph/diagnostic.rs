//! What is wrong with a graph: messages that point into the text the user wrote.
//!
//! Law: rendering never fails and never lets control characters of the input reach the terminal.

use std::collections::BTreeSet;
use std::fmt;

use codespan_reporting::diagnostic::{self as codespan, LabelStyle};
use codespan_reporting::files::{Files, SimpleFiles};
use codespan_reporting::term::termcolor::{Ansi, NoColor, WriteColor};
use codespan_reporting::term::{Config, DisplayStyle, emit_to_write_style};

use super::words;
use crate::error::ErrorKind;

/// At most this many diagnostics are written out.
const SHOWN: usize = 100;
/// At most this many are kept; the others are only counted.
const KEPT: usize = 10_000;
/// Source lines longer than this (bytes) are not shown.
const LONGEST_LINE: usize = 1000;
/// Nearest names are looked for until this many errors were found: the search costs time.
const SUGGEST_UNTIL: usize = 200;

/// Bytes `start..end` of a file.
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

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    message: String,
    primary: Option<(Place, String)>,
    secondary: Vec<(Place, String)>,
    notes: Vec<String>,
}

impl Diagnostic {
    pub(crate) fn error(place: impl Into<Option<Place>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            primary: place.into().map(|place| (place, String::new())),
            secondary: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    /// The words beside the caret.
    #[must_use]
    pub(crate) fn label(mut self, text: impl Into<String>) -> Self {
        if let Some((_, label)) = &mut self.primary {
            *label = text.into();
        }
        self
    }

    /// `did you mean …` beside the caret.
    #[must_use]
    pub(crate) fn nearest(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.label(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// A second place that has to do with it.
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

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it: lines that begin with `help:`, and lines of detail.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Collects diagnostics and the texts they point into.
#[derive(Debug)]
pub(crate) struct Report {
    files: SimpleFiles<String, String>,
    found: Vec<Diagnostic>,
    seen: BTreeSet<(Option<Place>, String)>,
    omitted: usize,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { files: SimpleFiles::new(), found: Vec::new(), seen: BTreeSet::new(), omitted: 0 }
    }

    /// Adds a text; `name` is what users see before the line number.
    pub(crate) fn add_file(&mut self, name: &str, text: &str) -> usize {
        self.files.add(words::printable(name), words::printable_same_length(text))
    }

    /// Adds a diagnostic unless the same was said of the same place.
    pub(crate) fn push(&mut self, mut diagnostic: Diagnostic) {
        if self.found.len() >= KEPT {
            self.omitted += 1;
            return;
        }
        for (place, label) in diagnostic.primary.iter_mut().chain(&mut diagnostic.secondary) {
            *place = self.clamp(*place);
            *label = words::printable(label);
        }
        diagnostic.message = words::printable(&diagnostic.message);
        for note in &mut diagnostic.notes {
            *note = note.split('\n').map(words::printable).collect::<Vec<_>>().join("\n");
        }
        let place = diagnostic.primary.as_ref().map(|(place, _)| *place);
        if self.seen.insert((place, diagnostic.message.clone())) {
            self.found.push(diagnostic);
        }
    }

    /// The name nearest to `word`, while there are not too many errors for the search.
    pub(crate) fn nearest<'n>(
        &self,
        word: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Option<&'n str> {
        if self.found.len() < SUGGEST_UNTIL { words::nearest(word, names) } else { None }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|d| d.severity == Severity::Error)
    }

    pub(crate) fn finish(mut self) -> Diagnostics {
        self.found.sort_by_key(|d| d.primary.as_ref().map(|(place, _)| *place));
        Diagnostics { files: self.files, found: self.found, omitted: self.omitted, kind: ErrorKind::Config }
    }

    /// Into the file's bounds and onto character boundaries; the end of the file is the end of its last line.
    fn clamp(&self, place: Place) -> Place {
        let text = self.files.get(place.file).map(|f| f.source().as_str()).unwrap_or("");
        let last = text.strip_suffix('\n').map_or(text.len(), |t| t.strip_suffix('\r').unwrap_or(t).len());
        let mut start = place.start.min(last);
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = place.end.clamp(start, text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        Place { start, end, ..place }
    }
}

/// Everything that is wrong with a graph, in the order of files and lines.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    files: SimpleFiles<String, String>,
    found: Vec<Diagnostic>,
    /// More of them that were only counted.
    omitted: usize,
    kind: ErrorKind,
}

impl Diagnostics {
    /// The graph file itself cannot be opened.
    pub(crate) fn not_found(message: String) -> Self {
        let found = vec![Diagnostic::error(None, words::printable(&message))];
        Self { files: SimpleFiles::new(), found, omitted: 0, kind: ErrorKind::NotFound }
    }

    /// How many there are, warnings included.
    pub fn len(&self) -> usize {
        self.found.len() + self.omitted
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many of them are errors.
    pub fn errors(&self) -> usize {
        self.found.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// [`ErrorKind::NotFound`] when the graph file itself cannot be opened, else [`ErrorKind::Config`].
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Each diagnostic with its place; of very many only the first ten thousand.
    pub fn iter(&self) -> impl Iterator<Item = (Option<Position<'_>>, &Diagnostic)> {
        self.found.iter().map(|d| (self.position(d), d))
    }

    /// The text for a person: source lines with carets, in colour where the terminal has it.
    pub fn render(&self, color: bool) -> String {
        if color { self.write(Ansi::new(Vec::new())) } else { self.write(NoColor::new(Vec::new())) }
    }

    fn position(&self, diagnostic: &Diagnostic) -> Option<Position<'_>> {
        let (place, _) = diagnostic.primary.as_ref()?;
        let location = self.files.location(place.file, place.start).ok()?;
        let file = self.files.get(place.file).ok()?.name();
        Some(Position { file, line: location.line_number, column: location.column_number })
    }

    fn write<W: WriteColor + IntoText>(&self, mut out: W) -> String {
        for diagnostic in self.found.iter().take(SHOWN) {
            let severity = match diagnostic.severity {
                Severity::Error => codespan::Severity::Error,
                Severity::Warning => codespan::Severity::Warning,
            };
            let labels = diagnostic.primary.iter().map(|label| (LabelStyle::Primary, label));
            let labels = labels.chain(diagnostic.secondary.iter().map(|l| (LabelStyle::Secondary, l)));
            let labels = labels
                .map(|(style, (place, text))| {
                    codespan::Label::new(style, place.file, place.start..place.end).with_message(text)
                })
                .collect::<Vec<_>>();
            let style = if labels.iter().all(|label| self.is_showable(label)) {
                DisplayStyle::Rich
            } else {
                DisplayStyle::Medium
            };
            let shown = codespan::Diagnostic::new(severity)
                .with_message(&diagnostic.message)
                .with_labels(labels)
                .with_notes(diagnostic.notes.clone());
            let config = Config { display_style: style, ..Config::default() };
            let before = out.len();
            if emit_to_write_style(&mut out, &config, &self.files, &shown).is_err() {
                // Places are clamped to their files and the writer is memory, so this is out of reach;
                // should it happen, the message still reaches the user.
                out.cut(before);
                out.add(&format!("error: {}\n\n", diagnostic.message));
            }
        }
        if let Some(more @ 1..) = self.len().checked_sub(SHOWN) {
            out.add(&format!("… and {more} more\n"));
        }
        while out.buffer().ends_with(b"\n\n") {
            out.buffer().pop();
        }
        out.into_text()
    }

    fn is_showable(&self, label: &codespan::Label<usize>) -> bool {
        let length = |at: usize| {
            let line = self.files.line_index(label.file_id, at).ok()?;
            self.files.line_range(label.file_id, line).ok().map(|range| range.len())
        };
        [label.range.start, label.range.end]
            .into_iter()
            .all(|at| length(at).is_some_and(|n| n < LONGEST_LINE))
    }
}

/// Where a diagnostic points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position<'a> {
    /// The file as it was named, or `--set`.
    pub file: &'a str,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// A coloured or plain buffer.
trait IntoText {
    fn buffer(&mut self) -> &mut Vec<u8>;
    fn into_text(self) -> String;

    fn len(&mut self) -> usize {
        self.buffer().len()
    }

    fn cut(&mut self, len: usize) {
        self.buffer().truncate(len);
    }

    fn add(&mut self, text: &str) {
        self.buffer().extend_from_slice(text.as_bytes());
    }
}

impl IntoText for Ansi<Vec<u8>> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.into_inner()).into_owned()
    }
}

impl IntoText for NoColor<Vec<u8>> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.into_inner()).into_owned()
    }
}
