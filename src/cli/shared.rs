//! What several verbs take: `--set` and the form of the output.

use clap::{Args, ValueEnum};
use framewise_pipeline::graph::Override;

/// `--set`, for every verb that resolves a graph.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Change one value: stages.NAME.KEY, stages.NAME.from.PORT, graph.KEY or use.NAME; repeatable.
    /// stages.NAME.type of a new NAME adds a stage
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<Override>,
}

/// The form in which results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs: one JSON value
    Json,
}

/// The languages of drawings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drawing {
    /// Mermaid, shown by GitHub and many editors
    Mermaid,
    /// Graphviz
    Dot,
    /// A picture
    Svg,
}
