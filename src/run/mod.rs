//! `framewise run`: loads a graph, runs it in a directory of its own and tells how it went.
//!
//! Law: a run that began leaves a directory that says what ran and how it ended; one that could not begin leaves
//! nothing.

mod checkpoints;
mod directory;
pub(crate) mod journal;
mod result;
mod signals;
mod summary;

use std::path::Path;
use std::sync::Arc;

use framewise_pipeline::context::Level;
use framewise_pipeline::engine::{Outcome, Pipeline, RunError, RunOptions, Status};
use framewise_pipeline::graph::{self, ResolvedGraph};
use framewise_pipeline::{Registry, StopToken};

use crate::cli::{Format, RunArgs};
use crate::dashboard::{self, Dashboard};
use crate::{exit, graphs, terminal};
use directory::RunDir;
use journal::Journal;
use result::{RunFailure, RunResult};

/// Runs a graph; the exit code is that of its first error.
///
/// # Errors
/// What prevents the run from beginning or its result from being printed.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    match prepare(args) {
        Ok(prepared) => prepared.run(args),
        Err(refusal) => {
            if args.format == Format::Json {
                terminal::print(&RunResult::not_started(&refusal.graph, refusal.failure()).to_json())?;
            }
            if let Some(error) = refusal.untold {
                terminal::error(&error);
            }
            Ok(refusal.exit_code)
        }
    }
}

/// A run that is ready to begin.
struct Prepared {
    graph: ResolvedGraph,
    directory: RunDir,
    journal: Arc<Journal>,
    stop: StopToken,
    pipeline: Pipeline,
}

/// Why a run cannot begin.
struct Refusal {
    graph: String,
    stage: Option<String>,
    message: String,
    exit_code: u8,
    /// The message for standard error; `None` where it stands there already.
    untold: Option<String>,
}

impl Refusal {
    fn failure(&self) -> RunFailure {
        RunFailure { stage: self.stage.clone(), message: self.message.clone(), exit_code: self.exit_code }
    }
}

fn prepare(args: &RunArgs) -> Result<Prepared, Refusal> {
    let registry = framewise_stages::registry();
    let graph = load(args, &registry)?;
    let refuse = |error: anyhow::Error| {
        let message = format!("{error:#}");
        let exit_code = exit::code_of(&error);
        Refusal { graph: graph.name.clone(), stage: None, untold: Some(message.clone()), message, exit_code }
    };
    let directory = RunDir::create(args.run_dir.as_deref(), &graph.name).map_err(|e| refuse(e.into()))?;
    let resolved = graph::render(&graph);
    let begun = directory.write_graph(&resolved).and_then(|()| Journal::create(&directory, shown(args)));
    let journal = match begun {
        Ok(journal) => Arc::new(journal),
        Err(error) => {
            directory.discard();
            return Err(refuse(error.into()));
        }
    };
    let stop = StopToken::new();
    if let Err(error) = signals::listen(&stop, &journal, signals::Ending::of(&graph, &registry)) {
        directory.discard();
        return Err(refuse(error.context("cannot listen for Ctrl-C")));
    }
    let options = RunOptions {
        run_dir: Some(directory.path().to_owned()),
        resolved_text: Arc::from(resolved),
        observer: journal.clone(),
        stop: stop.clone(),
        ..RunOptions::default()
    };
    match Pipeline::build(&graph, &registry, &options) {
        Ok(pipeline) => {
            journal.note(Level::Info, &format!("run directory {}", directory.path().display()));
            if !graph.seed_given {
                let seed = graph.seed;
                journal.note(
                    Level::Info,
                    &format!("seed {seed}, drawn for this run; graph.resolved.toml keeps it"),
                );
            }
            Ok(Prepared { graph, directory, journal, stop, pipeline })
        }
        Err(error) => {
            directory.discard();
            Err(Refusal {
                graph: graph.name.clone(),
                exit_code: error.failure.kind.exit_code(),
                untold: Some(error.to_string()),
                message: error.failure.to_string(),
                stage: Some(error.stage),
            })
        }
    }
}

fn load(args: &RunArgs, registry: &Registry) -> Result<ResolvedGraph, Refusal> {
    graphs::load(&args.graph, registry, &args.set.overrides).map_err(|diagnostics| Refusal {
        graph: args.graph.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned()),
        stage: None,
        message: graphs::first_message(&diagnostics),
        exit_code: diagnostics.kind().exit_code(),
        untold: None,
    })
}

fn shown(args: &RunArgs) -> Level {
    match (args.quiet, args.verbose) {
        (true, _) => Level::Warning,
        (_, true) => Level::Debug,
        _ => Level::Info,
    }
}

impl Prepared {
    fn run(self, args: &RunArgs) -> anyhow::Result<u8> {
        let Prepared { graph, directory, journal, stop, pipeline } = self;
        let style = match () {
            () if args.quiet || args.no_progress => dashboard::Style::Off,
            () if terminal::stderr_is_terminal() => dashboard::Style::Bars,
            () => dashboard::Style::Lines,
        };
        let dashboard = Dashboard::start(pipeline.monitor(), &graph.name, &journal, style);
        let outcome = pipeline.run();
        dashboard.finish();
        // From here on the program ends by itself: another Ctrl-C may end it at once.
        signals::release();
        drop(stop);

        let exit_code = exit_code(&outcome.status);
        let checkpoint = checkpoints::newest(&graph, directory.path());
        let result = RunResult::of(&graph.name, directory.path(), &outcome);
        let text = match args.format {
            Format::Json => result.to_json(),
            Format::Text => summary::text(&result, checkpoint.as_deref()),
        };
        let printed = terminal::print(&text);
        tell_end(&journal, &outcome);
        if let (Format::Json, exit::INTERRUPTED, Some(path)) = (args.format, exit_code, &checkpoint) {
            // The JSON has no key for it; the text names it.
            journal.note(Level::Warning, &format!("the newest checkpoint is {}", path.display()));
        }
        printed?;
        Ok(exit_code)
    }
}

fn exit_code(status: &Status) -> u8 {
    match status {
        Status::Done => exit::OK,
        Status::FinishedEarly | Status::Stopped => exit::INTERRUPTED,
        Status::Failed(error) => error.failure.kind.exit_code(),
    }
}

fn tell_end(journal: &Journal, outcome: &Outcome) {
    match &outcome.status {
        Status::Failed(error) => journal.failed(error),
        Status::Done => journal.log(Level::Info, "", "done"),
        Status::FinishedEarly => journal.log(Level::Warning, "", "finished early on request"),
        Status::Stopped => journal.log(Level::Warning, "", "stopped"),
    }
}

/// A path as a person would type it: relative to the working directory where it lies below it.
fn short(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path)
}

impl From<&RunError> for RunFailure {
    fn from(error: &RunError) -> Self {
        Self {
            stage: (!error.stage.is_empty()).then(|| error.stage.clone()),
            message: error.failure.to_string(),
            exit_code: error.failure.kind.exit_code(),
        }
    }
}
