//! The graphs and command lines that several processes cannot run together.

use framewise_pipeline::graph::{self, ResolvedGraph};
use framewise_pipeline::{ErrorKind, Failure, Registry};

use super::linked::{Linked, shards, trainer};
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
    linked: Option<&Linked>,
    args: &RunArgs,
    graph: &ResolvedGraph,
    registry: &Registry,
) -> anyhow::Result<()> {
    if job.is_alone() {
        return Ok(());
    }
    let told = job.told();
    if args.trace.is_some() {
        return Err(
            UsageError(format!("{told}: --trace would write one file for all ranks; leave it out")).into()
        );
    }
    if linked.is_some() {
        return check_linked(job, args, graph, registry);
    }
    if let Some(trains) = trainer(graph) {
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
    check_records(&told, graph, registry)?;
    if !graph.seed_given {
        let text = format!("{told}: the ranks cannot draw a seed together: set `seed` in [graph]");
        return Err(Failure::config(text).into());
    }
    Ok(())
}

/// Refuses what linked ranks cannot run together.
fn check_linked(job: &Job, args: &RunArgs, graph: &ResolvedGraph, registry: &Registry) -> anyhow::Result<()> {
    let told = job.told();
    if trainer(graph).is_none() {
        if args.resume.is_some() {
            return Err(UsageError(format!("{told}: --resume goes on with a training run")).into());
        }
        return check_records(&told, graph, registry);
    }
    let (shards, size) = (shards(graph), job.of.size);
    if shards < size {
        let text = format!(
            "{told}: a step has {shards} of the {size} shards that {size} ranks need; the number of shards decides the numbers \
             of the training, so give the stage `shard` at least {size}, or start fewer ranks"
        );
        return Err(Failure::config(text).into());
    }
    Ok(())
}

/// Refuses a graph whose records cannot be divided.
fn check_records(told: &str, graph: &ResolvedGraph, registry: &Registry) -> anyhow::Result<()> {
    let problems = graph::undivided(graph, registry);
    if problems.is_empty() {
        return Ok(());
    }
    let lines: String = problems.iter().map(|(stage, why)| format!("\n  stage `{stage}`: {why}")).collect();
    Err(Failure::config(format!("{told}: the records of this graph cannot be divided:{lines}")).into())
}
