//! The arguments of the verbs that tell about a graph before it is run: `plan`, `tune` and `tap`.

use std::path::PathBuf;

use clap::Args;

use super::shared::{Format, SetArgs};

/// `framewise plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise plan graphs/train.toml
  framewise plan graphs/train-cpu.toml --set stages.batch.size=32 --format json
  framewise plan graphs/quickstart.toml --calibrate

Nothing is run without --calibrate. With it, the graph runs for a few seconds in a temporary directory,
and nothing is written to the files and directories that the graph names.")]
pub(crate) struct PlanArgs {
    /// The graph, a TOML file, or `-` for standard input
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// Run the graph for a short while to measure the service time of each stage, and predict the rate, its limit and the
    /// time of the whole run
    #[arg(long)]
    pub(crate) calibrate: bool,
    /// How long the graph runs for --calibrate
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds, requires = "calibrate")]
    pub(crate) seconds: f64,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// `framewise tune`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise tune graphs/train-cpu.toml
  framewise tune graphs/train-cpu.toml --seconds 300 --write

The graph runs again and again in a temporary directory, and nothing is written to the files and directories
that it names. The results of a run do not depend on workers and capacities. The workers of all stages
together stay within the cores, and the room of edges within `memory` of [graph].")]
pub(crate) struct TuneArgs {
    /// The graph, a TOML file, or `-` for standard input
    pub(crate) graph: PathBuf,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// The time for all measurements together
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Make the edits that help in the file of the graph. Its comments and layout stay
    #[arg(long)]
    pub(crate) write: bool,
    /// How the edits are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// `framewise tap`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise tap graphs/quickstart.toml decode
  framewise tap graphs/quickstart.toml loss.predictions --count 3
  framewise tap graphs/quickstart.toml optimizer.weights --count 1 --format json
  framewise tap runs/train-1 decode
  framewise tap 127.0.0.1:9600 decode

A graph runs in a temporary directory up to that port, and nothing is written to the files and directories
that it names. A port in the loop of training is seen while the graph trains.
A run that is served (run --metrics) goes on meanwhile, and nothing waits for the look: what passes while an item
is described is left out and counted.")]
pub(crate) struct TapArgs {
    /// The graph, a TOML file, or `-` for standard input; or a run that is served, by its directory or its address
    #[arg(value_name = "GRAPH|RUN|ADDRESS")]
    pub(crate) graph: PathBuf,
    /// The output whose items are shown; without a port, the main output of the stage
    #[arg(value_name = "STAGE[.PORT]")]
    pub(crate) port: String,
    #[command(flatten)]
    pub(crate) set: SetArgs,
    /// How many items are shown
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) count: u64,
    /// How they are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// Reads a time in seconds.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (1.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("write a number of seconds from 1 to 86400".to_owned()),
    }
}
