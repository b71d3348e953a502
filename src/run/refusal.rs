//! The reason why a run cannot begin.

use framewise_pipeline::graph::Diagnostics;

use super::result::RunFailure;
use crate::graphs;
use crate::problems::Problems;

/// The reason why a run cannot begin.
pub(crate) struct Refusal {
    pub(crate) graph: String,
    pub(crate) stage: Option<String>,
    pub(crate) message: String,
    pub(crate) exit_code: u8,
    pub(crate) problems: Box<Problems>,
    /// The message for standard error. `None` if it was already printed.
    pub(crate) untold: Option<String>,
}

impl Refusal {
    /// The refusal of a graph for its errors, which were already printed.
    pub(crate) fn of(graph: String, diagnostics: &Diagnostics) -> Self {
        Self {
            graph,
            stage: None,
            message: graphs::first_message(diagnostics),
            exit_code: diagnostics.kind().exit_code(),
            problems: Box::new(Problems::of(diagnostics)),
            untold: None,
        }
    }

    pub(crate) fn failure(&self) -> RunFailure {
        RunFailure {
            stage: self.stage.clone(),
            message: self.message.clone(),
            exit_code: self.exit_code,
            problems: (*self.problems).clone(),
        }
    }
}
