//! Everything that is wrong with a graph, as a text for people and as places for programs.
//!
//! Law: rendering never fails and never lets control characters of the input reach the terminal.

use std::fmt;

use codespan_reporting::diagnostic::{self as codespan, LabelStyle};
use codespan_reporting::files::{Files, SimpleFiles};
use codespan_reporting::term::termcolor::{Ansi, NoColor, WriteColor};
use codespan_reporting::term::{Config, DisplayStyle, emit_to_write_style};

use super::diagnostic::{Diagnostic, Place, Severity};
use super::words;
use crate::edge::error::ErrorKind;

/// The most diagnostics that are written out.
const SHOWN: usize = 100;
/// The length in bytes from which a source line is not shown.
const LONGEST_LINE: usize = 1000;

/// Everything that is wrong with a graph, in the order of files and lines.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    pub(super) files: SimpleFiles<String, String>,
    pub(super) found: Vec<Diagnostic>,
    /// The number of further diagnostics, which were only counted.
    pub(super) omitted: usize,
}

impl Diagnostics {
    /// The diagnostics for a graph file that cannot be opened.
    pub(crate) fn not_found(message: String) -> Self {
        let found = Diagnostic::error(None, words::printable(&message)).of_kind(ErrorKind::NotFound);
        Self { files: SimpleFiles::new(), found: vec![found], omitted: 0 }
    }

    /// The number of diagnostics, warnings included.
    pub fn len(&self) -> usize {
        self.found.len() + self.omitted
    }

    /// Whether there are no diagnostics.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The number of errors among them.
    pub fn errors(&self) -> usize {
        self.found.iter().filter(|d| d.severity() == Severity::Error).count()
    }

    /// The number of warnings among them.
    pub fn warnings(&self) -> usize {
        self.found.len() - self.errors()
    }

    /// The kind of the first error, in the order of files and lines. It decides the exit code. Without an error it is
    /// [`ErrorKind::Config`].
    pub fn kind(&self) -> ErrorKind {
        let first = self.found.iter().find(|d| d.severity() == Severity::Error);
        first.map_or(ErrorKind::Config, Diagnostic::kind)
    }

    /// Each diagnostic with its place. Of very many diagnostics, only the first ten thousand come.
    pub fn iter(&self) -> impl Iterator<Item = (Option<Position<'_>>, &Diagnostic)> {
        self.found.iter().map(|d| (self.position(d), d))
    }

    /// The further places that a diagnostic of these points to, each with its words.
    pub fn further<'d>(
        &'d self,
        diagnostic: &'d Diagnostic,
    ) -> impl Iterator<Item = (Position<'d>, &'d str)> {
        let places = diagnostic.secondary.iter();
        places.filter_map(|(place, text)| Some((self.position_of(*place)?, text.as_str())))
    }

    /// The diagnostics as a text for people: source lines with carets, in colour if `color` is set.
    pub fn render(&self, color: bool) -> String {
        if color { self.write(Ansi::new(Vec::new())) } else { self.write(NoColor::new(Vec::new())) }
    }

    fn position(&self, diagnostic: &Diagnostic) -> Option<Position<'_>> {
        diagnostic.primary.as_ref().and_then(|(place, _)| self.position_of(*place))
    }

    fn position_of(&self, place: Place) -> Option<Position<'_>> {
        let start = self.files.location(place.file, place.start).ok()?;
        let end = self.files.location(place.file, place.end).ok()?;
        Some(Position {
            file: self.files.get(place.file).ok()?.name(),
            line: start.line_number,
            column: start.column_number,
            end_line: end.line_number,
            end_column: end.column_number,
        })
    }

    fn write<W: WriteColor + IntoText>(&self, mut out: W) -> String {
        for diagnostic in self.found.iter().take(SHOWN) {
            let severity = match diagnostic.severity() {
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
                .with_notes(diagnostic.notes().to_vec());
            let config = Config { display_style: style, ..Config::default() };
            let before = out.len();
            if emit_to_write_style(&mut out, &config, &self.files, &shown).is_err() {
                // Places are clamped to their files and the writer is memory, so this should never happen. If it does,
                // the message still reaches the user.
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

/// The position that a diagnostic points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position<'a> {
    /// The name of the file as it was given, or `--set`.
    pub file: &'a str,
    /// The line, counted from 1.
    pub line: usize,
    /// The character in the line, counted from 1.
    pub column: usize,
    /// The line in which the place ends.
    pub end_line: usize,
    /// The character behind the last one of the place, counted from 1.
    pub end_column: usize,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// A buffer for text with or without colours.
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
