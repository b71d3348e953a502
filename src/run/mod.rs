//! `framewise run`, which loads a graph, runs it in a directory of its own, and reports how the run ended.
//!
//! Law: a run that began leaves a directory that says what ran and how it ended. A run that could not begin leaves
//! nothing. If it was to resume another run, it leaves the directory of that run unchanged.

mod begun;
mod checkpoints;
mod curves;
mod directory;
mod keep;
mod lock;
mod outputs;
mod refusal;
mod result;
mod resume;
mod signals;
mod stage_table;
mod summary;
mod trace_file;

use std::path::Path;
use std::sync::Arc;

use console::Term;
use framewise_pipeline::engine::{Outcome, Pipeline, RunError, Status};
use framewise_pipeline::graph::{self, Loaded, ResolvedGraph};
use framewise_pipeline::stage::context::Level;
use framewise_pipeline::{Failure, Registry, StopToken};

use crate::cli::{Format, RunArgs};
use crate::job::{self, Job, Linked, Rank, Watch};
use crate::observe::journal::Journal;
use crate::observe::ranks::Board;
use crate::observe::{Dashboard, Style};
use crate::problems::Problems;
use crate::shell;
use crate::{exit, graphs, outside, serve, terminal};
use begun::Begun;
pub(crate) use checkpoints::CHECKPOINTS;
use checkpoints::Outside;
use directory::RunDir;
pub(crate) use directory::{GRAPH, LOG, METRICS, RANKS, RESULTS, RUNS, STAGES, part};
pub(crate) use lock::{Lock, is_locked};
use refusal::Refusal;
pub(crate) use result::RunResult;
pub(crate) use summary::Ended;
use trace_file::TraceFile;

/// Runs a graph. The exit code is that of its first error.
///
/// # Errors
/// The error that prevents the run from beginning, or its result from being printed.
pub(crate) fn run(args: &RunArgs, registry: &Registry) -> anyhow::Result<u8> {
    match prepare(args, registry) {
        Ok(prepared) => prepared.run(args),
        Err(refusal) => {
            if args.format == Format::Json {
                terminal::print(&RunResult::not_started(&refusal.graph, refusal.failure()).to_json())?;
            }
            if let Some(error) = refusal.untold {
                terminal::error(&error);
            }
            job::end_all(refusal.exit_code);
            Ok(refusal.exit_code)
        }
    }
}

/// A run that is ready to begin.
struct Prepared {
    graph: ResolvedGraph,
    directory: RunDir,
    /// The lock on the checkpoints' own directory, which is held until the run has ended.
    outside: Option<Outside>,
    /// The step after which the run is resumed.
    resumed: Option<u64>,
    journal: Arc<Journal>,
    stop: StopToken,
    pipeline: Pipeline,
    trace: Option<TraceFile>,
    /// A stage or the trace is written to standard output, so the result goes to standard error.
    shares_stdout: bool,
    /// The server at which the run is watched.
    server: Option<serve::Server>,
    /// The number of this process, if it is one of several.
    ranks: Option<Rank>,
    /// The link to the others, if there is one.
    linked: Option<Linked>,
    /// The watch over the others.
    watch: Option<Watch>,
}

fn prepare(args: &RunArgs, registry: &Registry) -> Result<Prepared, Refusal> {
    let mut loaded = load(args, registry)?;
    let name = loaded.graph.name.clone();
    let refuse = |error: anyhow::Error| {
        let message = format!("{error:#}");
        let exit_code = exit::code_of(&error);
        let problems = Box::new(Problems::one(&message));
        Refusal {
            graph: name.clone(),
            stage: None,
            untold: Some(message.clone()),
            message,
            exit_code,
            problems,
        }
    };
    let shares_stdout = outputs::share_standard_output(args, &loaded.graph, registry).map_err(refuse)?;
    let bound = args.metrics.as_deref().map(|address| serve::bind(address, args.metrics_allow_remote));
    let bound = bound.transpose().map_err(refuse)?;
    let job = Job::find(args.rank, &|name| std::env::var_os(name)).map_err(refuse)?;
    let linked = if args.rank.is_none() { job::link(&job).map_err(|e| refuse(e.into()))? } else { None };
    job::check(&job, linked.as_ref(), args, &loaded.graph, registry).map_err(refuse)?;
    if let Some(linked) = &linked {
        linked.agree(&mut loaded.graph, args.resume.as_deref()).map_err(|e| refuse(e.into()))?;
    }
    let ranks = (!job.is_alone()).then_some(job.of);
    let begun = Begun::new(args, &mut loaded.graph, registry, job, linked.as_ref()).map_err(refuse)?;
    let checked = outputs::check(args, &loaded.graph, registry, begun.directory.path());
    let trace = match checked.and_then(|()| args.trace.as_deref().map(TraceFile::open).transpose()) {
        Ok(trace) => trace,
        Err(error) => {
            begun.discard();
            return Err(refuse(error.into()));
        }
    };
    let outside = outside::survey(&loaded, registry, begun.directory.path(), begun.resumed.is_some());
    if outside.found.errors() > 0 {
        // The file of the trace may lie in the directory that is discarded.
        drop(trace);
        begun.discard();
        graphs::tell_errors(&args.graph, &outside.found);
        return Err(Refusal { stage: outside.stage, ..Refusal::of(name, &outside.found) });
    }
    graphs::tell(&outside.found);
    let graph = loaded.graph;
    let built =
        begun.build(args, &graph, registry, linked.as_ref()).and_then(|(journal, stop, pipeline, watch)| {
            let hears_all = linked.as_ref().is_some_and(|linked| linked.rank() == 0);
            let board = watch.as_ref().filter(|_| hears_all).map(Watch::board);
            let server =
                bound.map(|bound| watched(bound, &graph, &pipeline, &journal, board, begun.directory.path()));
            Ok((journal, stop, pipeline, watch, server.transpose()?))
        });
    match built {
        Ok((journal, stop, pipeline, watch, server)) => {
            let resumed = begun.resumed.as_ref().map(|resumed| resumed.step);
            let Begun { directory, outside, .. } = begun;
            Ok(Prepared {
                graph,
                directory,
                outside,
                resumed,
                journal,
                stop,
                pipeline,
                trace,
                shares_stdout,
                server,
                ranks,
                linked,
                watch,
            })
        }
        Err(error) => {
            drop(trace);
            begun.discard();
            Err(match error.downcast::<RunError>() {
                Ok(error) => Refusal {
                    graph: name,
                    exit_code: error.failure.kind.exit_code(),
                    untold: Some(error.to_string()),
                    message: error.failure.to_string(),
                    problems: Box::new(Problems::one(&error.failure.to_string())),
                    stage: Some(error.stage),
                },
                Err(error) => refuse(error),
            })
        }
    }
}

fn load(args: &RunArgs, registry: &Registry) -> Result<Loaded, Refusal> {
    graphs::load(&args.graph, registry, &args.set.overrides).map_err(|diagnostics| {
        let stem = args.graph.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned());
        Refusal::of(stem, &diagnostics)
    })
}

impl Prepared {
    fn run(self, args: &RunArgs) -> anyhow::Result<u8> {
        let Prepared {
            graph,
            directory,
            outside,
            resumed,
            journal,
            stop,
            pipeline,
            trace,
            shares_stdout,
            server,
            ranks,
            linked,
            watch,
        } = self;
        let speaks = linked.as_ref().is_none_or(|linked| linked.rank() == 0);
        let style = match () {
            () if args.quiet || args.no_progress || !speaks => Style::Off,
            () if terminal::stderr_is_terminal() => Style::Bars,
            () => Style::Lines,
        };
        let board = watch.as_ref().filter(|_| speaks).map(Watch::board);
        let dashboard = Dashboard::start(pipeline.monitor(), &graph.name, &journal, board.clone(), style);
        journal.begin();
        let alarm = watch.as_ref().map(|watch| watch.alarm(&stop));
        let outcome = pipeline.run();
        drop(alarm);
        dashboard.finish();
        drop(server);
        // From here on the program ends by itself, so another Ctrl-C may end it at once.
        signals::release();
        drop(stop);

        let exit_code = exit_code(&outcome.status);
        let kept = checkpoints::kept(&graph, directory.path());
        let result = RunResult::of(&graph.name, directory.path(), &outcome, &kept).of_rank(ranks);
        // A run that trains, wrote a checkpoint and did not reach its end can be resumed.
        let is_whole = matches!(outcome.status, Status::Done);
        let trains = graph.stages.iter().any(|stage| stage.type_name == "optimizer");
        let last = kept.last.as_ref().filter(|_| trains && !is_whole);
        let go_on = last.map(|newest| {
            let is_new = resumed != Some(newest.step);
            checkpoints::resume_command(args, directory.path(), is_new)
        });
        let text = match args.format {
            Format::Json => result.to_json(),
            Format::Text => {
                let shown_on = if shares_stdout { Term::stderr() } else { Term::stdout() };
                let (resumed, go_on) = (resumed.is_some(), go_on.as_deref());
                Ended { result: &result, graph: &graph, resumed, go_on }.text(terminal::width(&shown_on))
            }
        };
        let unwritten = keep::write(&directory, &result, &outcome, board.as_deref(), trains);
        let printed = if !speaks {
            Ok(())
        } else if shares_stdout {
            terminal::say(text.trim_end_matches('\n'));
            Ok(())
        } else {
            terminal::print(&text)
        };
        for failure in unwritten {
            journal.note(Level::Warning, &failure.to_string());
        }
        tell_end(&journal, &outcome);
        if let (Some(newest), Some(words)) = (&kept.last, &go_on) {
            let (path, command) = (newest.path.display(), shell::command(words));
            let text = format!("the newest checkpoint is {path}; go on with: {command}");
            match args.format {
                // The JSON has no key for this message.
                Format::Json => journal.note(Level::Warning, &text),
                Format::Text => journal.log(Level::Warning, "", &text),
            }
        }
        // The trace comes last, because a stream without a reader would hold up everything behind it.
        let traced = trace
            .map(|file| file.write_and_tell(&outcome.monitor, args, &journal, shares_stdout))
            .transpose();
        // The directories stay locked until the process is gone, because a thread that hung in a stalled run may still
        // write.
        std::mem::forget((outside, directory));
        if let (Some(watch), Some(linked)) = (watch, &linked) {
            if let Some(text) = watch.told(linked.hosts()) {
                journal.note(Level::Info, &text);
            }
            watch.bye();
        }
        if let Some(linked) = linked {
            linked.end(exit_code, matches!(outcome.status, Status::Failed(_)));
        }
        printed?;
        match traced {
            // The first error of a run is the one that its exit code tells.
            Err(failure) if exit_code != exit::OK => journal.note(Level::Warning, &failure.to_string()),
            traced => _ = traced?,
        }
        Ok(exit_code)
    }
}

/// Serves the readings of a run that is about to begin, and tells where.
fn watched(
    bound: serve::Bound,
    graph: &ResolvedGraph,
    pipeline: &Pipeline,
    journal: &Arc<Journal>,
    ranks: Option<Arc<Board>>,
    run_dir: &Path,
) -> Result<serve::Server, Failure> {
    let address = bound.address();
    let facts = serve::Facts {
        drawing: graph::svg(graph),
        resolved: graph::render(graph),
        checkpoints: checkpoints::directory(graph, run_dir),
    };
    let server = bound.serve(pipeline.monitor(), journal.clone(), ranks, facts, run_dir)?;
    journal
        .note(Level::Info, &format!("this run is served at http://{address}/, for Prometheus at /metrics"));
    Ok(server)
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
