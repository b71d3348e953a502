//! A graph that passed every check, with the places of its parts.

use super::report::collect::Report;
use super::report::diagnostics::Diagnostics;
use super::resolve::upstream::Written;
use super::resolved::ResolvedGraph;

/// A graph that passed every check.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The graph.
    pub graph: ResolvedGraph,
    /// Warnings about what can run but is hardly meant.
    pub warnings: Diagnostics,
    /// Where the parts of the graph are written, for messages about what a survey finds.
    pub(super) sources: Sources,
}

/// Where the parts of a graph are written.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// The files, without messages.
    pub(super) report: Report,
    /// The parts of each stage.
    pub(super) stages: Vec<Written>,
    pub(super) is_inner: bool,
}
