//! The arguments of the verbs that explain graphs and stages: `check`, `graph`, `stages` and `render`.

use std::path::PathBuf;

use clap::Args;

use super::shared::{Drawing, Format, SetArgs};

/// `framewise check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise check graphs/*.toml
  framewise check --inputs graphs/train.toml --set stages.batch.size=32
  framewise check --format json - < graph.toml")]
pub(crate) struct CheckArgs {
    /// Graphs, TOML files. `-` is a graph on standard input, whose paths are relative to the working directory
    #[arg(required = true, value_name = "GRAPH")]
    pub(crate) graphs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// Also look up what lies outside of the graphs: files, weights, devices, output directories and free disk space
    #[arg(long)]
    pub(crate) inputs: bool,
    /// How the errors are printed: as text on standard error, or as JSON on standard output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// `framewise graph`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise graph graphs/train.toml --format svg > train.svg
  framewise graph graphs/train.toml --format dot | dot -Tpdf > train.pdf")]
pub(crate) struct DrawArgs {
    /// The graph, a TOML file, or `-` for standard input
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// The language of the drawing
    #[arg(long, value_enum, default_value_t = Drawing::Mermaid)]
    pub(crate) format: Drawing,
}

/// `framewise stages`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise stages
  framewise stages tfrecord_reader
  framewise stages optimizer --format json")]
pub(crate) struct StagesArgs {
    /// Explain this type
    #[arg(value_name = "TYPE")]
    pub(crate) type_name: Option<String>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// `framewise render`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  framewise render graphs/train.toml --set stages.batch.size=32 > resolved.toml")]
pub(crate) struct RenderArgs {
    /// The graph, a TOML file, or `-` for standard input
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) set: SetArgs,
}
