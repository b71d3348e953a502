//! The command line: verbs, options and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use framewise_pipeline::graph::Override;

/// Run NeXtVLAD video-classification pipelines declared as TOML graphs.
#[derive(Debug, Parser)]
#[command(name = "framewise", bin_name = "framewise", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes:
   0  done                          70  internal error: a bug
  64  wrong usage                   73  an output cannot be written
  65  bad data                      74  reading or writing failed half-way
  66  an input was not found        78  bad graph or configuration
  69  a device is not available     75  the run stalled: nothing moved
                                   130  interrupted";

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a graph
    Run(RunArgs),
    /// Find everything that is wrong with graphs before a byte is read
    Check(CheckArgs),
    /// Draw a graph, its edges labelled with what they carry
    Graph(DrawArgs),
    /// List the stage types, or explain one: ports, keys, units, defaults
    Stages(StagesArgs),
    /// Print a graph as it would run: configurations merged, defaults written out, --set applied
    Render(RenderArgs),
    /// Tell what a TFRecord, weights, checkpoint or model configuration file holds
    Inspect(InspectArgs),
    /// Make a .safetensors file of the weights of another system
    Import(ImportArgs),
}

/// `framewise run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise run graphs/train.toml
  framewise run graphs/train.toml --set stages.batch.size=32 --set graph.seed=7
  framewise run graphs/train.toml --resume latest
  framewise run graphs/eval.toml --format json > result.json

Progress and messages go to standard error, the result to standard output. Ctrl-C once ends a
training run in order, after the step in hand, with a checkpoint; twice stops it at once. --resume
goes on in the run's directory from its newest whole checkpoint; with --run-dir it branches off into
a new one. A terminal or a reader that goes away does not end a run.")]
pub(crate) struct RunArgs {
    /// The graph, a TOML file
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// Where the run writes: a new or empty directory [default: runs/NAME-N; with --resume that of the checkpoint]
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Go on with a training run: its directory, its checkpoints/, one of them, or `latest`, the newest run of this graph
    #[arg(long, value_name = "RUN")]
    pub(crate) resume: Option<String>,
    /// Go on although this differs from the checkpoint's graph: stages.NAME.KEY or stages.NAME; repeatable
    #[arg(long, value_name = "KEY", requires = "resume")]
    pub(crate) allow_changed: Vec<String>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Show only warnings and errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Show details
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// No progress display
    #[arg(long)]
    pub(crate) no_progress: bool,
}

/// `--set`, for every verb that resolves a graph.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Change one value: stages.NAME.KEY, graph.KEY or use.NAME; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<Override>,
}

/// `framewise check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  framewise check graphs/*.toml")]
pub(crate) struct CheckArgs {
    /// Graphs, TOML files
    #[arg(required = true, value_name = "GRAPH")]
    pub(crate) graphs: Vec<PathBuf>,
}

/// `framewise graph`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise graph graphs/train.toml --format svg > train.svg
  framewise graph graphs/train.toml --format dot | dot -Tpdf > train.pdf")]
pub(crate) struct DrawArgs {
    /// The graph, a TOML file
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
  framewise render graphs/train.toml --set stages.batch.size=32 > train.resolved.toml")]
pub(crate) struct RenderArgs {
    /// The graph, a TOML file
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) set: SetArgs,
}

/// `framewise inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise inspect data/train*.tfrecord
  framewise inspect --verify runs/nextvlad-train-1
  framewise inspect --verify /data/yt8m --format json > verified.json
  framewise inspect configs/model/nextvlad-paddle.toml

The kind of a file is told by its content, not by its name.")]
pub(crate) struct InspectArgs {
    /// TFRecord files (plain or compressed), .safetensors files, checkpoints, run directories, model configurations,
    /// graphs, PaddlePaddle's .pdparams and numpy's .npz files; directories of data and patterns such as
    /// 'data/*.tfrecord' stand for the files in them
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Read everything: every CRC, every record decoded, every checksum; bad ones are listed and summed by reason
    #[arg(long)]
    pub(crate) verify: bool,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// `framewise import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise import nextvlad.pdparams nextvlad.safetensors
  framewise import nextvlad.pdparams nextvlad.safetensors --model configs/data/youtube8m.toml --model configs/model/nextvlad-paddle.toml
  framewise import paper.npz paper.safetensors --map configs/import/nextvlad-tensorflow.toml --eigenvalues eigenvals.npy

Nothing in a file is run, a pickle included. The graph that uses the weights names the model's other choices: preset
nextvlad-paddle for PaddlePaddle's, nextvlad-paper for the authors'.")]
pub(crate) struct ImportArgs {
    /// A PaddlePaddle parameter file (.pdparams), .npz or .safetensors file; told by its content
    #[arg(value_name = "FROM")]
    pub(crate) from: PathBuf,
    /// The .safetensors file to write; what is there is replaced when the new one is complete
    #[arg(value_name = "TO")]
    pub(crate) to: PathBuf,
    /// Names there and here, a TOML file: "theirs" = "ours", or "theirs" = { name = "ours", transpose = true, squeeze = true }
    /// [default: PaddlePaddle's names for .pdparams, our own for other files]
    #[arg(long, value_name = "FILE")]
    pub(crate) map: Option<PathBuf>,
    /// The model that the tensors must make, a TOML file as in configs/model; repeatable, the later over the earlier
    /// [default: sizes are those of the tensors]
    #[arg(long, value_name = "CONFIG")]
    pub(crate) model: Vec<PathBuf>,
    /// The .npy file of the YouTube-8M PCA release, for a file that does not bring the factors of the visual features
    #[arg(long, value_name = "FILE")]
    pub(crate) eigenvalues: Option<PathBuf>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs: one JSON value
    Json,
}

/// Languages of drawings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drawing {
    /// Mermaid, shown by GitHub and many editors
    Mermaid,
    /// Graphviz
    Dot,
    /// A picture
    Svg,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
