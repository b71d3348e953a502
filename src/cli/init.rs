//! The arguments of `init`.

use std::path::PathBuf;

use clap::Args;

/// `framewise init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise init my_stage
  framewise init my_stage --framewise-path ~/src/framewise
  framewise init my_data --graph-only

Without --graph-only the project is a Rust crate: the program framewise with one more stage type, the \
stage's test, and graphs that use it. With --graph-only the project is graphs that train, evaluate and \
predict, for data of your own; no Rust is needed. Both run as they are on the data sample that comes \
with them, and their README.md says what to change. When something cannot be written, nothing stays.")]
pub(crate) struct InitArgs {
    /// The directory to write, which must be new or empty
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Write graphs for data of your own, without a Rust crate
    #[arg(long)]
    pub(crate) graph_only: bool,
    /// The name of the crate [default: that of the directory]
    #[arg(long, conflicts_with = "graph_only")]
    pub(crate) name: Option<String>,
    /// Let the crate depend on the source of Framewise in this directory, and not on the published version
    #[arg(long, value_name = "PATH", conflicts_with = "graph_only")]
    pub(crate) framewise_path: Option<PathBuf>,
}
