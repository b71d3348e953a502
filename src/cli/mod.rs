//! The command line: verbs, options and their help.

mod files;
mod graph;
mod init;
mod run;
mod runs;
mod shared;
mod trial;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use console::Term;

use crate::terminal;
pub(crate) use files::{ExportArgs, ImportArgs, InspectArgs};
pub(crate) use graph::{CheckArgs, DrawArgs, RenderArgs, StagesArgs};
pub(crate) use init::InitArgs;
pub(crate) use run::{MergeArgs, RunArgs};
pub(crate) use runs::{DiffArgs, RunsArgs, TopArgs};
pub(crate) use shared::{Drawing, Format};
pub(crate) use trial::{PlanArgs, TapArgs, TuneArgs};

/// The greatest width to which help is laid out, in characters. Longer lines are hard to read.
const WIDEST_HELP: usize = 100;

/// Run NeXtVLAD video-classification pipelines declared as TOML graphs.
#[derive(Debug, Parser)]
#[command(name = "framewise", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Cli {
    /// Reads the command line of this process. Help is laid out to the width of the terminal.
    ///
    /// # Errors
    /// What the user is to be shown: help, the version, or what is wrong with the command line.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let width = terminal::width(&Term::stdout()).min(WIDEST_HELP);
        let matches = Self::command().term_width(width).try_get_matches()?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut Self::command()))
    }
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
    /// Put together what the ranks of a run left: metrics, predictions, records
    Merge(MergeArgs),
    /// Find everything that is wrong with graphs before a byte is read
    Check(CheckArgs),
    /// Draw a graph whose edges are labelled with what they carry
    Graph(DrawArgs),
    /// List the stage types, or explain one: ports, keys, units, defaults
    Stages(StagesArgs),
    /// Print a graph as it would run, with configurations merged, defaults written out and --set applied
    Render(RenderArgs),
    /// Tell before a run what it needs: parameters, memory, records, steps, checkpoints and, measured, time
    Plan(PlanArgs),
    /// Measure a graph, and find the workers and capacities that make it faster
    Tune(TuneArgs),
    /// Show what passes an edge of a graph: ids, shapes, ranges and first values
    Tap(TapArgs),
    /// Describe what a TFRecord, weights, checkpoint or model configuration file holds
    Inspect(InspectArgs),
    /// Make a .safetensors file of the weights of another system
    Import(ImportArgs),
    /// Write the weights of a run for evaluation in int8, int8x2 or bf16
    Export(ExportArgs),
    /// Watch a run that is served (run --metrics): where its time goes, live
    Top(TopArgs),
    /// List the runs below runs/, with their best results
    Runs(RunsArgs),
    /// Show what differs between two runs: settings, versions and numbers
    Diff(DiffArgs),
    /// Write a project to start from: graphs, configurations, a data sample, and a stage in Rust
    Init(InitArgs),
}

impl Verb {
    /// Whether the verb runs the stages of a graph.
    pub(crate) fn runs_a_graph(&self) -> bool {
        match self {
            Verb::Run(_) | Verb::Tune(_) | Verb::Tap(_) => true,
            Verb::Plan(args) => args.calibrate,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_line_of_any_help_is_longer_than_80_columns() {
        let mut command = Cli::command().term_width(80);
        command.build();
        let mut shown = vec![("framewise".to_owned(), command.clone().render_long_help().to_string())];
        for verb in command.get_subcommands_mut() {
            let name = verb.get_name().to_owned();
            shown.push((name.clone(), verb.render_help().to_string()));
            shown.push((name, verb.render_long_help().to_string()));
        }
        assert!(shown.len() > 10);
        for (name, help) in shown {
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
            }
        }
    }
}
