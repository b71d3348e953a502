//! Resuming a run: which checkpoint it is resumed from, and whether its graph fits.
//!
//! Laws: a damaged checkpoint is named and never used. A graph that would give other numbers is refused, unless the
//! user allows each change by name.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use framewise_pipeline::graph::{self, Change, ResolvedGraph};
use framewise_pipeline::{ErrorKind, Failure, Registry};
use framewise_stages::store::{self, StoreError};
use framewise_stages::{Resume, read_kind};

use super::checkpoints::{self, CHECKPOINTS};
use super::directory::{GRAPH, runs_of};
use crate::exit::UsageError;
use crate::shell::{short, short_or_dot};

/// The word that stands for the newest run of the graph.
const LATEST: &str = "latest";
/// The one change that nobody can allow.
const SEED: &str = "graph.seed";

/// The place that the value of `--resume` stands for.
#[derive(Debug)]
pub(crate) struct Place {
    /// The run directory that the checkpoint belongs to. A checkpoint that was copied elsewhere has none.
    pub(crate) run_dir: Option<PathBuf>,
    pub(crate) search: Search,
}

/// The way in which the checkpoint is found.
#[derive(Debug)]
pub(crate) enum Search {
    /// The checkpoint at this path and no other.
    One(PathBuf),
    /// The newest good checkpoint in this directory.
    Newest(PathBuf),
}

/// A checkpoint that was read and verified as a whole.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) state: Resume,
    /// Newer checkpoints that were passed over, the newest first.
    pub(crate) damaged: Vec<(PathBuf, StoreError)>,
}

/// What is reported about a graph that fits.
#[derive(Debug, Default)]
pub(crate) struct Agreed {
    /// The changes that do no harm or are allowed.
    pub(crate) changes: Vec<Change>,
    /// The names that were allowed but are not needed.
    pub(crate) needless: Vec<String>,
}

/// Finds the place that `wanted` stands for.
///
/// # Errors
/// A usage error when the graph does not train. `NotFound` when there is nothing.
pub(crate) fn locate(wanted: &str, graph: &ResolvedGraph) -> anyhow::Result<Place> {
    if graph.stages.iter().all(|stage| stage.type_name != "optimizer") {
        return Err(UsageError(format!(
            "`{}` cannot be resumed: it has no `optimizer` stage, so there is no training to go on with",
            graph.name
        ))
        .into());
    }
    if wanted == LATEST {
        return latest(graph);
    }
    let path = match fs::canonicalize(wanted) {
        Ok(path) => short_or_dot(&path),
        Err(error) => {
            let kind = read_kind(&error);
            return Err(Failure::new(kind, format!("cannot resume from {wanted}: {error}")).into());
        }
    };
    if !path.is_dir() {
        let message = format!(
            "cannot resume from {wanted}: a file, not a checkpoint's or a run's directory; `init_from` of the optimizer \
             starts from weights alone"
        );
        return Err(Failure::data(message).into());
    }
    if store::find(&path).is_ok_and(|found| found.path == path) {
        let collection = fs::canonicalize(&path).ok().and_then(|path| path.parent().map(Path::to_owned));
        let run_dir = collection.and_then(|collection| run_of(&collection));
        return Ok(Place { run_dir, search: Search::One(path) });
    }
    Ok(place(path, graph))
}

/// A directory of checkpoints or of a run.
fn place(path: PathBuf, graph: &ResolvedGraph) -> Place {
    let inside = path.join(CHECKPOINTS);
    let is_run = path.join(GRAPH).is_file() || holds_any(&inside);
    if !is_run {
        let run_dir = fs::canonicalize(&path).ok().and_then(|path| run_of(&path));
        return Place { run_dir, search: Search::Newest(path) };
    }
    // The graph may write elsewhere only since now.
    let elsewhere = checkpoints::named(graph).filter(|named| holds_any(named) || !holds_any(&inside));
    Place { run_dir: Some(path), search: Search::Newest(elsewhere.unwrap_or(inside)) }
}

/// The run directory that an absolute directory of checkpoints belongs to.
fn run_of(collection: &Path) -> Option<PathBuf> {
    let run_dir = collection.parent()?;
    let is_its = collection.file_name()? == CHECKPOINTS && run_dir.join(GRAPH).is_file();
    is_its.then(|| short_or_dot(run_dir))
}

fn latest(graph: &ResolvedGraph) -> anyhow::Result<Place> {
    let runs =
        runs_of(&graph.name).map_err(|e| Failure::new(ErrorKind::Io, format!("cannot list runs: {e}")))?;
    let newest = runs.into_iter().rev().map(|run| place(run, graph)).find(|place| match &place.search {
        Search::One(_) => true,
        Search::Newest(directory) => holds_any(directory),
    });
    newest.ok_or_else(|| {
        let message = format!(
            "nothing to resume: no run of `{}` below runs/ holds a checkpoint; name the run's directory",
            graph.name
        );
        Failure::new(ErrorKind::NotFound, message).into()
    })
}

fn holds_any(directory: &Path) -> bool {
    store::list(directory).is_ok_and(|entries| !entries.is_empty())
}

/// Reads the checkpoint and verifies every byte.
///
/// # Errors
/// The checkpoint that was named cannot be read or is damaged. No checkpoint is there (exit code 66). None of those
/// that are there is good (exit code 65).
pub(crate) fn choose(search: &Search) -> anyhow::Result<Chosen> {
    let directory = match search {
        Search::One(path) => {
            let checkpoint = store::load(path).map_err(Failure::from)?;
            let state = Resume { checkpoint, directory: path.clone() };
            return Ok(Chosen { state, damaged: Vec::new() });
        }
        Search::Newest(directory) => directory,
    };
    let mut entries = match store::list(directory) {
        // The run ended before it made the directory of its first checkpoint.
        Err(StoreError::Missing { .. }) => Vec::new(),
        entries => entries.map_err(Failure::from)?,
    };
    let mut damaged = Vec::new();
    while let Some(entry) = entries.pop() {
        match store::load(&entry.path) {
            Ok(checkpoint) => {
                return Ok(Chosen { state: Resume { checkpoint, directory: entry.path }, damaged });
            }
            Err(
                problem @ (StoreError::Damaged { .. }
                | StoreError::Missing { .. }
                | StoreError::Tensor { .. }),
            ) => {
                damaged.push((entry.path, problem));
            }
            // This checkpoint is of another version, or cannot be read for now. Only the user may decide to go back
            // behind it.
            Err(other) => return Err(Failure::from(other).into()),
        }
    }
    let shown = short(directory).display();
    if damaged.is_empty() {
        let message = format!("nothing to resume: no checkpoint in {shown}");
        return Err(Failure::new(ErrorKind::NotFound, message).into());
    }
    let problems: Vec<_> = damaged.iter().map(|(_, problem)| format!("\n  {problem}")).collect();
    Err(Failure::data(format!("nothing to resume: no checkpoint in {shown} is good{}", problems.concat()))
        .into())
}

/// Refuses to resume from a checkpoint when `directory`, where the run would write, holds newer ones. They would count
/// as the run's newest, and its own checkpoints would be the first to be removed.
///
/// # Errors
/// A usage error when there are newer checkpoints.
pub(crate) fn check_newest(directory: &Path, chosen: &Chosen) -> anyhow::Result<()> {
    let step = chosen.state.checkpoint.step;
    let passed_over = |path: &Path| chosen.damaged.iter().any(|(damaged, _)| damaged == path);
    // A directory that does not exist holds no checkpoints.
    let entries = store::list(directory).unwrap_or_default();
    let newer =
        entries.iter().rfind(|entry| entry.step > step && entry.is_complete() && !passed_over(&entry.path));
    let Some(newer) = newer else { return Ok(()) };
    Err(UsageError(format!(
        "{} is not the newest checkpoint of its run, {} is; to branch off from the older one, name a new directory \
         with --run-dir",
        short(&chosen.state.directory).display(),
        short(&newer.path).display()
    ))
    .into())
}

/// Compares the graph with the checkpoint's, and takes over the checkpoint's seed where the graph names none.
///
/// # Errors
/// `Config` when the graph would give other numbers; the error names each change. A usage error for an allowed name
/// that does not exist.
pub(crate) fn agree(
    graph: &mut ResolvedGraph,
    registry: &Registry,
    chosen: &Chosen,
    allowed: &[String],
) -> anyhow::Result<Agreed> {
    let Resume { checkpoint, directory } = &chosen.state;
    if !graph.seed_given {
        graph.seed = checkpoint.seed;
        graph.seed_given = true;
    }
    let shown = short(directory).display();
    let changes = graph::compare(&checkpoint.graph, graph, registry)
        .map_err(|why| Failure::data(format!("{shown}: its graph cannot be read: {why}")))?;
    let mut needless = Vec::new();
    for name in allowed {
        if name == SEED {
            return Err(UsageError(
                "the seed cannot change on resume: the order of the data up to the checkpoint follows from it; \
                 `init_from` of the optimizer starts another run from its weights"
                    .to_owned(),
            )
            .into());
        }
        if changes.iter().any(|change| change.is_named(name) && !change.free) {
            continue;
        }
        if !is_known(name, graph, registry) && !changes.iter().any(|change| change.is_named(name)) {
            return Err(UsageError(format!(
                "--allow-changed {name}: the graph has no such stage or key; write stages.NAME.KEY or stages.NAME"
            ))
            .into());
        }
        needless.push(name.clone());
    }
    let refused: Vec<_> = changes
        .iter()
        .filter(|change| !change.free && !allowed.iter().any(|name| change.is_named(name)))
        .collect();
    if refused.is_empty() {
        return Ok(Agreed { changes, needless });
    }
    let lines: String = refused.iter().map(|change| format!("  {change}\n")).collect();
    let allowable = refused.iter().filter(|change| change.key != SEED);
    let hints: String = allowable.map(|change| format!(" --allow-changed {}", change.key)).collect();
    let hints =
        if hints.is_empty() { String::new() } else { format!(", or allow what you mean to change:{hints}") };
    Err(anyhow!(Failure::config(format!(
        "{shown} was written by another graph, and going on with this one would give other numbers:\n{lines}\
         set it back as it was{hints}"
    ))))
}

/// Whether the graph has this stage or key.
fn is_known(name: &str, graph: &ResolvedGraph, registry: &Registry) -> bool {
    let name = name.strip_prefix("stages.").unwrap_or(name);
    let (stage, key) = name.split_once('.').map_or((name, None), |(stage, key)| (stage, Some(key)));
    let Some(stage) = graph.stages.iter().find(|s| s.name == stage) else { return false };
    let Some(key) = key else { return true };
    let keys = registry.get(&stage.type_name).map(|component| component.keys()).unwrap_or_default();
    ["type", "from", "capacity", "capacity_bytes"].contains(&key) || keys.iter().any(|spec| spec.name == key)
}
