//! The arguments of `run`.

use std::path::PathBuf;

use clap::Args;

use super::shared::{Format, SetArgs};
use crate::job::Rank;

/// `framewise run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise run graphs/train.toml
  framewise run graphs/train.toml --set stages.batch.size=32 --set graph.seed=7
  framewise run graphs/train.toml --resume latest
  framewise run graphs/eval.toml --format json > result.json

Progress and messages go to standard error, and the result goes to standard output. One Ctrl-C ends \
a training run in order: after the step in hand, with a checkpoint. A second one stops it at once. \
--resume continues a run in its directory from its newest whole checkpoint. With --run-dir, the run \
continues in a new directory. A terminal or a reader that goes away does not end a run.")]
pub(crate) struct RunArgs {
    /// The graph, a TOML file
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// Where the run writes: a new or empty directory [default: runs/NAME-N, or with --resume that of the checkpoint]
    #[arg(long, value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Run as process R of N, each of which reads a part of the records of an evaluation or a prediction; R counts from 0.
    /// `framewise merge` makes the results of their parts below --run-dir. Without this option the environment tells, as
    /// Slurm's srun, torchrun and mpirun set it; 0/1 is a run by itself
    #[arg(long, value_name = "R/N")]
    pub(crate) rank: Option<Rank>,
    /// Resume a training run: its directory, its checkpoints/, one checkpoint, or `latest` for the newest run of this
    /// graph
    #[arg(long, value_name = "RUN")]
    pub(crate) resume: Option<String>,
    /// Resume although this differs from the checkpoint's graph: stages.NAME.KEY or stages.NAME; repeatable
    #[arg(long, value_name = "KEY", requires = "resume")]
    pub(crate) allow_changed: Vec<String>,
    /// Write what each stage did from moment to moment to a file that Perfetto (ui.perfetto.dev) opens
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Show only warnings and errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Show details
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Show no progress
    #[arg(long)]
    pub(crate) no_progress: bool,
    /// Serve the readings of the run at this address while it lives: / for browsers, /metrics for Prometheus, /api/reading,
    /// /api/history and /api/log as JSON. Port 0 takes a free port
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Option<String>,
    /// Let other machines reach --metrics
    #[arg(long, requires = "metrics")]
    pub(crate) metrics_allow_remote: bool,
}

/// `framewise merge`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  srun -n 4 framewise run graphs/predict.toml --run-dir runs/predict
  framewise merge runs/predict

The parts must be those of one graph, of the same files and weights and one version of the program. A part that is \
missing or failed is named, and then nothing is written. Merging again writes the same.")]
pub(crate) struct MergeArgs {
    /// The run directory that all ranks were given
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}
