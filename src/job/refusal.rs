//! The graphs and command lines that several processes cannot run together.

use framewise_pipeline::graph::{self, ResolvedGraph};
use framewise_pipeline::{ErrorKind, Failure, Registry};

use super::member::Job;
use crate::cli::RunArgs;
use crate::exit::UsageError;

/// Refuses a run that the processes of a job cannot make together.
///
/// # Errors
/// `Unavailable` for a graph that trains, because the ranks are not linked. A usage error for a command line without a
/// directory for the parts. `Config` for a graph whose results cannot be put together.
pub(crate) fn check(
    job: &Job,
    args: &RunArgs,
    graph: &ResolvedGraph,
    registry: &Registry,
) -> anyhow::Result<()> {
    if job.is_alone() {
        return Ok(());
    }
    let told = job.told();
    if let Some(trains) = graph.stages.iter().find(|stage| stage.type_name == "optimizer") {
        let text = format!(
            "{told}: this graph trains (stage `{}`), and processes that train together need a build with the feature \
             `mpi`; --rank 0/1 makes this process train by itself",
            trains.name
        );
        return Err(Failure::new(ErrorKind::Unavailable, text).into());
    }
    if args.resume.is_some() {
        return Err(UsageError(format!("{told}: --resume goes on with a training run")).into());
    }
    if args.run_dir.is_none() {
        let text =
            format!("{told}: name the run directory of all ranks with --run-dir, where each leaves its part");
        return Err(UsageError(text).into());
    }
    if args.trace.is_some() {
        return Err(
            UsageError(format!("{told}: --trace would write one file for all ranks; leave it out")).into()
        );
    }
    let problems = graph::undivided(graph, registry);
    if !problems.is_empty() {
        let lines: String =
            problems.iter().map(|(stage, why)| format!("\n  stage `{stage}`: {why}")).collect();
        return Err(
            Failure::config(format!("{told}: the records of this graph cannot be divided:{lines}")).into()
        );
    }
    if !graph.seed_given {
        let text = format!("{told}: the ranks cannot draw a seed together: set `seed` in [graph]");
        return Err(Failure::config(text).into());
    }
    Ok(())
}
