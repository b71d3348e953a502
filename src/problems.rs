//! What is wrong with a graph, in the form in which `--format json` prints it.
//!
//! Law: the keys are a contract, and the same for `check` and for a run that could not begin.

use framewise_pipeline::graph::{Diagnostic, Diagnostics, Position, Severity};
use serde::Serialize;

/// The words with which a line of advice begins in the text for people.
const HELP: &str = "help: ";

/// All errors and warnings of a graph.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Problems {
    pub(crate) errors: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

/// One error or warning. A problem with the graph file as a whole, or with what lies outside of it, has no place.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Problem {
    #[serde(flatten)]
    place: Place,
    pub(crate) message: String,
    /// What stands beside the caret. It is empty where the message says it all.
    label: String,
    /// What to do about it.
    hints: Vec<String>,
    /// Details.
    notes: Vec<String>,
    /// Further places that have to do with the problem.
    places: Vec<FurtherPlace>,
}

/// A part of a file. Lines and characters are counted from 1, and the end stands behind the last character.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Place {
    /// The file, or `--set`, or `<stdin>`.
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    end_line: Option<usize>,
    end_column: Option<usize>,
}

/// A further place with its words.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct FurtherPlace {
    #[serde(flatten)]
    place: Place,
    label: String,
}

impl Problems {
    /// Everything in the diagnostics of a graph.
    pub(crate) fn of(diagnostics: &Diagnostics) -> Self {
        let mut problems = Self::default();
        for (position, diagnostic) in diagnostics.iter() {
            let list = match diagnostic.severity() {
                Severity::Error => &mut problems.errors,
                Severity::Warning => &mut problems.warnings,
            };
            list.push(Problem::of(diagnostics, position, diagnostic));
        }
        problems
    }

    /// One error that has no place in a graph.
    pub(crate) fn one(message: &str) -> Self {
        let error = Problem { message: message.to_owned(), ..Problem::default() };
        Self { errors: vec![error], warnings: Vec::new() }
    }

    /// Adds other problems behind these.
    pub(crate) fn extend(&mut self, other: Problems) {
        self.errors.extend(other.errors);
        self.warnings.extend(other.warnings);
    }
}

impl Problem {
    fn of(all: &Diagnostics, position: Option<Position<'_>>, diagnostic: &Diagnostic) -> Self {
        let (hints, notes): (Vec<&String>, Vec<_>) =
            diagnostic.notes().iter().partition(|note| note.starts_with(HELP));
        let further = all.further(diagnostic);
        Self {
            place: position.map(Place::of).unwrap_or_default(),
            message: diagnostic.message().to_owned(),
            label: diagnostic.beside_caret().to_owned(),
            hints: hints.into_iter().map(|hint| hint[HELP.len()..].to_owned()).collect(),
            notes: notes.into_iter().cloned().collect(),
            places: further
                .map(|(place, label)| FurtherPlace { place: Place::of(place), label: label.to_owned() })
                .collect(),
        }
    }
}

impl Place {
    fn of(position: Position<'_>) -> Self {
        Self {
            file: Some(position.file.to_owned()),
            line: Some(position.line),
            column: Some(position.column),
            end_line: Some(position.end_line),
            end_column: Some(position.end_column),
        }
    }
}
