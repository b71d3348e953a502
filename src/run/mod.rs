//! `framewise run`: loads a graph, runs it in a directory of its own and tells how it went.
//!
//! Law: a run that began leaves a directory that says what ran and how it ended; one that could not begin leaves
//! nothing, or the directory of the run that it was to go on with as it was.

mod checkpoints;
mod directory;
pub(crate) mod journal;
mod lock;
mod result;
mod resume;
mod signals;
mod summary;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use framewise_pipeline::context::{Level, Resources};
use framewise_pipeline::engine::{Outcome, Pipeline, RunError, RunOptions, Status};
use framewise_pipeline::graph::{self, ResolvedGraph};
use framewise_pipeline::{Failure, Registry, StopToken};
use framewise_stages::store::{self, Checkpoint, StoreError};

use crate::cli::{Format, RunArgs};
use crate::dashboard::{self, Dashboard};
use crate::{exit, graphs, terminal};
use checkpoints::Outside;
use directory::RunDir;
use journal::Journal;
use result::{RunFailure, RunResult};
use resume::{Agreed, Chosen, Place, Search};

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
    /// Held until the run has ended.
    outside: Option<Outside>,
    /// The step that it goes on from.
    resumed: Option<u64>,
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
    let mut graph = load(args, &registry)?;
    let name = graph.name.clone();
    let refuse = |error: anyhow::Error| {
        let message = format!("{error:#}");
        let exit_code = exit::code_of(&error);
        Refusal { graph: name.clone(), stage: None, untold: Some(message.clone()), message, exit_code }
    };
    let begun = Begun::new(args, &mut graph, &registry).map_err(refuse)?;
    match begun.build(args, &graph, &registry) {
        Ok((journal, stop, pipeline)) => {
            let resumed = begun.resumed.as_ref().map(|resumed| resumed.step);
            let Begun { directory, outside, .. } = begun;
            Ok(Prepared { graph, directory, outside, resumed, journal, stop, pipeline })
        }
        Err(error) => {
            begun.discard();
            Err(match error.downcast::<RunError>() {
                Ok(error) => Refusal {
                    graph: name,
                    exit_code: error.failure.kind.exit_code(),
                    untold: Some(error.to_string()),
                    message: error.failure.to_string(),
                    stage: Some(error.stage),
                },
                Err(error) => refuse(error),
            })
        }
    }
}

/// The directories of a run that is about to be built, and what it goes on from.
struct Begun {
    directory: RunDir,
    outside: Option<Outside>,
    resumed: Option<Resumed>,
    resources: Arc<Resources>,
}

/// What is to be told about the checkpoint that a run goes on from.
struct Resumed {
    path: PathBuf,
    step: u64,
    epoch: u64,
    samples: u64,
    damaged: Vec<(PathBuf, StoreError)>,
    agreed: Agreed,
}

impl Begun {
    /// Takes the directories and reads the checkpoint. What it refuses leaves nothing.
    fn new(args: &RunArgs, graph: &mut ResolvedGraph, registry: &Registry) -> anyhow::Result<Self> {
        let place = args.resume.as_deref().map(|wanted| resume::locate(wanted, graph)).transpose()?;
        let old = place.as_ref().and_then(|place| place.run_dir.as_deref());
        let old = if args.run_dir.is_some() { None } else { old };
        let reopened = old.map(RunDir::reopen).transpose()?;
        let outside = Outside::take(graph, args.run_dir.as_deref().or(old))?;
        let rest = || {
            if let (None, Some(outside)) = (&place, &outside) {
                outside.check_new()?;
            }
            let chosen =
                place.map(|place| choose(args, graph, registry, &place, reopened.as_ref(), outside.as_ref()));
            let chosen = chosen.transpose()?;
            let directory = match reopened {
                Some(directory) => directory,
                None => RunDir::create(args.run_dir.as_deref(), &graph.name)?,
            };
            anyhow::Ok((directory, chosen))
        };
        match rest() {
            Ok((directory, chosen)) => {
                let resources = Arc::<Resources>::default();
                let resumed = chosen.map(|(state, resumed)| {
                    resources.insert(state);
                    resumed
                });
                Ok(Self { directory, outside, resumed, resources })
            }
            Err(error) => {
                outside.into_iter().for_each(Outside::discard);
                Err(error)
            }
        }
    }

    fn build(
        &self,
        args: &RunArgs,
        graph: &ResolvedGraph,
        registry: &Registry,
    ) -> anyhow::Result<(Arc<Journal>, StopToken, Pipeline)> {
        let resolved = graph::render(graph);
        let journal = Arc::new(Journal::create(&self.directory, shown(args))?);
        let stop = StopToken::new();
        signals::listen(&stop, &journal, signals::Ending::of(graph, registry))
            .context("cannot listen for Ctrl-C")?;
        let options = RunOptions {
            run_dir: Some(self.directory.path().to_owned()),
            resolved_text: Arc::from(resolved.as_str()),
            observer: journal.clone(),
            stop: stop.clone(),
            resources: self.resources.clone(),
            ..RunOptions::default()
        };
        let pipeline = Pipeline::build(graph, registry, &options)?;
        self.directory.write_graph(&resolved)?;
        self.tell(graph, &journal)?;
        Ok((journal, stop, pipeline))
    }

    /// The run begins: tells where it writes and what it goes on from, and takes damaged checkpoints out of its way.
    fn tell(&self, graph: &ResolvedGraph, journal: &Journal) -> Result<(), Failure> {
        journal.note(Level::Info, &format!("run directory {}", self.directory.path().display()));
        if self.directory.is_unlocked() || self.outside.as_ref().is_some_and(Outside::is_unlocked) {
            let text = "this file system has no locks: nothing keeps a second run out of this directory";
            journal.note(Level::Warning, text);
        }
        let Some(resumed) = &self.resumed else {
            if !graph.seed_given {
                let seed = graph.seed;
                let text = format!("seed {seed}, drawn for this run; graph.resolved.toml keeps it");
                journal.note(Level::Info, &text);
            }
            return Ok(());
        };
        let Resumed { path, step, epoch, samples, damaged, agreed } = resumed;
        let writes_to = checkpoints::directory(graph, self.directory.path());
        for (path, problem) in damaged {
            let is_ours = writes_to.as_deref().is_some_and(|ours| same(Some(ours), path.parent()));
            let what = if is_ours {
                let aside = store::set_aside(path).map_err(exit::store_failure)?;
                format!("it is now {}", short(&aside).display())
            } else {
                "it is passed over".to_owned()
            };
            journal.note(Level::Warning, &format!("{problem}; {what}, and the run goes on from step {step}"));
        }
        let samples = crate::text::count(*samples);
        let path = short(path).display();
        journal.note(
            Level::Info,
            &format!("resumed from {path}: step {step}, epoch {epoch}, {samples} samples"),
        );
        for change in &agreed.changes {
            // What was allowed changes the numbers: it is said even with -q.
            let level = if change.free { Level::Info } else { Level::Warning };
            journal.note(level, &format!("changed: {change}"));
        }
        for name in &agreed.needless {
            let text = format!("--allow-changed {name} is not needed: nothing there asks for it");
            journal.note(Level::Warning, &text);
        }
        Ok(())
    }

    fn discard(self) {
        self.directory.discard();
        self.outside.into_iter().for_each(Outside::discard);
    }
}

/// The checkpoint of `--resume`, once the graph is known to fit. What a crash left is put in order in a directory that
/// this run holds.
fn choose(
    args: &RunArgs,
    graph: &mut ResolvedGraph,
    registry: &Registry,
    place: &Place,
    reopened: Option<&RunDir>,
    outside: Option<&Outside>,
) -> anyhow::Result<(framewise_stages::Resume, Resumed)> {
    // Where the run will write; a new directory of its own holds nothing yet.
    let writes_to = match (outside, reopened) {
        (Some(outside), _) => Some(outside.path.clone()),
        (None, Some(directory)) => Some(directory.path().join(checkpoints::CHECKPOINTS)),
        (None, None) => None,
    };
    if let (Some(ours), Search::Newest(directory)) = (&writes_to, &place.search)
        && same(Some(ours), Some(directory))
    {
        store::recover(ours).map_err(exit::store_failure)?;
    }
    let chosen = resume::choose(&place.search)?;
    if let Some(ours) = &writes_to {
        resume::check_newest(ours, &chosen)?;
    }
    let agreed = resume::agree(graph, registry, &chosen, &args.allow_changed)?;
    let Chosen { state, damaged } = chosen;
    let Checkpoint { step, epoch, samples, .. } = state.checkpoint;
    let path = state.directory.clone();
    Ok((state, Resumed { path, step, epoch, samples, damaged, agreed }))
}

/// Whether two directories are one.
fn same(one: Option<&Path>, other: Option<&Path>) -> bool {
    let real = |path: Option<&Path>| path.and_then(|path| path.canonicalize().ok());
    real(one).is_some() && real(one) == real(other)
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
        let Prepared { graph, directory, outside, resumed, journal, stop, pipeline } = self;
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
        // A graph that trains and wrote a checkpoint, and did not reach its end, can go on.
        let is_whole = matches!(outcome.status, Status::Done);
        let trains = graph.stages.iter().any(|stage| stage.type_name == "optimizer");
        let resume = checkpoint.as_deref().filter(|_| trains && !is_whole).map(|newest| {
            let is_new = resumed.is_none_or(|step| !newest.ends_with(store::directory_name(step)));
            checkpoints::resume_command(args, directory.path(), is_new)
        });
        let text = match args.format {
            Format::Json => result.to_json(),
            Format::Text => summary::text(&result, checkpoint.as_deref(), resume.as_deref()),
        };
        let printed = terminal::print(&text);
        tell_end(&journal, &outcome);
        if let (Some(path), Some(command)) = (&checkpoint, &resume) {
            let text = format!("the newest checkpoint is {}; go on with: {command}", path.display());
            match args.format {
                // The JSON has no key for it.
                Format::Json => journal.note(Level::Warning, &text),
                Format::Text => journal.log(Level::Warning, "", &text),
            }
        }
        // Locked until the process is gone: a thread that hung in a stalled run may still write.
        std::mem::forget((outside, directory));
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

/// As [`short`]; the working directory itself is `.`.
fn short_or_dot(path: &Path) -> PathBuf {
    let path = short(path);
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
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
