//! The report on a graph: it collects diagnostics and the texts into which they point.
//!
//! Law: no control character of the input gets into a report.

use std::collections::BTreeSet;

use codespan_reporting::files::SimpleFiles;

use super::diagnostic::{Diagnostic, Place, Severity};
use super::diagnostics::Diagnostics;
use super::words;

/// The most diagnostics that are kept. Further ones are only counted.
const KEPT: usize = 10_000;
/// The number of errors up to which nearest names are looked for, because the search costs time.
const SUGGEST_UNTIL: usize = 200;

/// Collects diagnostics and the texts they point into.
#[derive(Debug, Clone)]
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

    /// Adds the text of a file. `name` is what users see before the line number.
    pub(crate) fn add_file(&mut self, name: &str, text: &str) -> usize {
        self.files.add(words::printable(name), words::printable_same_length(text))
    }

    /// Adds a diagnostic, unless the same message was already added for the same place.
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

    /// A report on the same files, without messages.
    pub(crate) fn without_messages(&self) -> Self {
        Self { files: self.files.clone(), ..Self::new() }
    }

    /// The text that stands at a place.
    pub(crate) fn text_at(&self, place: Place) -> &str {
        let source = self.files.get(place.file).map_or("", |file| file.source().as_str());
        source.get(place.start..place.end).unwrap_or("")
    }

    /// Adds the messages about another graph, with its files. `place` is where stage `stage` of this graph names it.
    pub(crate) fn absorb(&mut self, other: &Diagnostics, place: Place, stage: &str) {
        let files = (0..).map_while(|id| other.files.get(id).ok());
        let ids: Vec<usize> = files.map(|file| self.file(file.name(), file.source())).collect();
        let label = format!("stage {} runs this graph", words::name(stage));
        for diagnostic in &other.found {
            let mut diagnostic = diagnostic.clone();
            for (place, _) in diagnostic.primary.iter_mut().chain(&mut diagnostic.secondary) {
                place.file = ids.get(place.file).copied().unwrap_or(place.file);
            }
            // A graph that cannot be opened has no place of its own.
            if diagnostic.primary.is_none() {
                diagnostic.primary = Some((place, label.clone()));
                self.push(diagnostic);
            } else {
                self.push(diagnostic.also(place, label.clone()));
            }
        }
        self.omitted += other.omitted;
    }

    /// The number of a file, which is added unless it is there. Graphs that share a config share its mistakes, too.
    fn file(&mut self, name: &str, text: &str) -> usize {
        let all = (0..).map_while(|id| self.files.get(id).ok());
        let known = all.into_iter().position(|file| file.name() == name && file.source() == text);
        known.unwrap_or_else(|| self.files.add(name.to_owned(), text.to_owned()))
    }

    /// The name that is nearest to `word`. `None` if no name is near, or if there are too many errors for the search.
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
        Diagnostics { files: self.files, found: self.found, omitted: self.omitted }
    }

    /// Moves a place into the bounds of its file and onto character boundaries. The end of the file counts as the end
    /// of its last line.
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
