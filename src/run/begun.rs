//! The beginning of a run: its directories are taken, the checkpoint of `--resume` is read, and the pipeline is built.
//!
//! Law: a run that is refused here leaves nothing behind. If it was to resume another run, the directory of that run is
//! as it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use framewise_pipeline::engine::trace::TraceLimits;
use framewise_pipeline::engine::{Pipeline, RunOptions};
use framewise_pipeline::graph::{self, ResolvedGraph};
use framewise_pipeline::stage::context::{Level, Resources};
use framewise_pipeline::{Failure, Registry, StopToken};
use framewise_stages::ranks::Ranks;
use framewise_stages::store::{self, Checkpoint, StoreError};

use super::checkpoints::{self, Outside};
use super::directory::{LOG, RunDir};
use super::resume::{self, Agreed, Chosen, Place, Search};
use super::signals;
use crate::cli::RunArgs;
use crate::job::{Job, Linked, Watch};
use crate::observe::journal::Journal;
use crate::observe::ranks::Sign;
use crate::serve;
use crate::shell::short;
use crate::text::{self, count, plural};

/// The time that the stages of a rank have to end when the run is stopped.
const PATIENCE: Duration = Duration::from_secs(1);

/// The directories of a run that is about to be built, and the checkpoint from which it is resumed.
pub(super) struct Begun {
    pub(super) directory: RunDir,
    /// The lock on the checkpoints' own directory, where they have one.
    pub(super) outside: Option<Outside>,
    pub(super) resumed: Option<Resumed>,
    resources: Arc<Resources>,
    job: Job,
}

/// What is reported about the checkpoint from which a run is resumed.
pub(super) struct Resumed {
    path: PathBuf,
    pub(super) step: u64,
    epoch: u64,
    samples: u64,
    damaged: Vec<(PathBuf, StoreError)>,
    agreed: Agreed,
}

impl Begun {
    /// Takes the directories and reads the checkpoint. If that is refused, nothing is left behind.
    pub(super) fn new(
        args: &RunArgs,
        graph: &mut ResolvedGraph,
        registry: &Registry,
        job: Job,
        linked: Option<&Linked>,
    ) -> anyhow::Result<Self> {
        if let Some(linked) = linked.filter(|linked| linked.rank() > 0) {
            return Self::beside(args, graph, registry, job, linked);
        }
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
                None if job.is_alone() || linked.is_some() => {
                    RunDir::create(args.run_dir.as_deref(), &graph.name)?
                }
                None => RunDir::create_part(args.run_dir.as_deref(), job.of.rank)?,
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
                if let Some(linked) = linked {
                    linked.path_of_rank_0(directory.path())?;
                }
                Ok(Self { directory, outside, resumed, resources, job })
            }
            Err(error) => {
                outside.into_iter().for_each(Outside::discard);
                Err(error)
            }
        }
    }

    /// What a rank other than the first takes and reads. Rank 0 has the directory of the run and writes the checkpoints.
    fn beside(
        args: &RunArgs,
        graph: &mut ResolvedGraph,
        registry: &Registry,
        job: Job,
        linked: &Linked,
    ) -> anyhow::Result<Self> {
        let run_dir = linked.path_of_rank_0(Path::new(""))?;
        let place = args.resume.as_deref().map(|wanted| resume::locate(wanted, graph)).transpose()?;
        let chosen = place.map(|place| choose(args, graph, registry, &place, None, None)).transpose()?;
        let directory = RunDir::create_beside(&run_dir, job.of.rank)?;
        let resources = Arc::<Resources>::default();
        let resumed = chosen.map(|(state, resumed)| {
            resources.insert(state);
            resumed
        });
        Ok(Self { directory, outside: None, resumed, resources, job })
    }

    pub(super) fn build(
        &self,
        args: &RunArgs,
        graph: &ResolvedGraph,
        registry: &Registry,
        linked: Option<&Linked>,
    ) -> anyhow::Result<(Arc<Journal>, StopToken, Pipeline, Option<Watch>)> {
        let resolved = graph::render(graph);
        let log = self.directory.path().join(LOG);
        let speaks = linked.is_none_or(|linked| linked.rank() == 0);
        let shown = if speaks { shown(args) } else { Level::Warning };
        let journal = Arc::new(Journal::create(log, shown, args.metrics.is_some())?);
        let stop = StopToken::new();
        let live = self.directory.path().join(serve::LIVE);
        signals::listen(&stop, &journal, signals::Ending::of(graph, registry), live)
            .context("cannot listen for Ctrl-C")?;
        let watch = linked.map(|linked| linked.watch(&stop, &journal)).transpose()?;
        match linked {
            Some(linked) => {
                self.resources.insert(linked.ranks(graph));
                linked.stops_with(&stop);
            }
            None if self.job.is_alone() => {}
            None => self.resources.insert(self.job.ranks()),
        }
        let options = RunOptions {
            rank: self.job.of.rank,
            ranks: self.job.of.size,
            run_dir: Some(self.directory.path().to_owned()),
            resolved_text: Arc::from(resolved.as_str()),
            observer: journal.clone(),
            stop: stop.clone(),
            // A stage that waits for a rank that has ended would wait for ever.
            patience: linked.map(|_| PATIENCE),
            resources: self.resources.clone(),
            trace: args.trace.as_ref().map(|_| TraceLimits::default()),
            ..RunOptions::default()
        };
        let pipeline = Pipeline::build(graph, registry, &options)?;
        self.directory.write_graph(&resolved)?;
        self.tell(graph, &journal)?;
        if let Some(watch) = &watch {
            let monitor = pipeline.monitor();
            let ranks = self.resources.get::<Ranks>();
            watch.signs_from(move || Sign {
                step: monitor.result("steps").unwrap_or_default() as u64,
                waited: ranks.as_ref().map_or(0.0, |ranks| ranks.waited().as_secs_f64()),
                limiting: monitor.bottleneck().stage,
            });
        }
        Ok((journal, stop, pipeline, watch))
    }

    /// Reports, at the beginning of the run, where it writes and from what it is resumed. Takes damaged checkpoints out
    /// of its way.
    fn tell(&self, graph: &ResolvedGraph, journal: &Journal) -> Result<(), Failure> {
        journal.note(Level::Info, &format!("run directory {}", self.directory.path().display()));
        if !self.job.is_alone() {
            journal.note(Level::Info, &self.job.told());
        }
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
                let aside = store::set_aside(path).map_err(Failure::from)?;
                format!("it is now {}", short(&aside).display())
            } else {
                "it is passed over".to_owned()
            };
            journal.note(Level::Warning, &format!("{problem}; {what}, and the run goes on from step {step}"));
        }
        let (step, epoch, samples) = (count(*step), text::epoch(*epoch), plural(*samples, "sample"));
        let path = short(path).display();
        journal.note(Level::Info, &format!("resumed from {path}: step {step}, epoch {epoch}, {samples}"));
        for change in &agreed.changes {
            // A change that was allowed changes the numbers, so it is reported even with -q.
            let level = if change.free { Level::Info } else { Level::Warning };
            journal.note(level, &format!("changed: {change}"));
        }
        for name in &agreed.needless {
            let text = format!("--allow-changed {name} is not needed: nothing of that name has changed");
            journal.note(Level::Warning, &text);
        }
        Ok(())
    }

    pub(super) fn discard(self) {
        self.directory.discard();
        self.outside.into_iter().for_each(Outside::discard);
    }
}

/// Reads the checkpoint of `--resume`, and checks that the graph fits. In a directory that this run holds, what a crash
/// left is put in order.
fn choose(
    args: &RunArgs,
    graph: &mut ResolvedGraph,
    registry: &Registry,
    place: &Place,
    reopened: Option<&RunDir>,
    outside: Option<&Outside>,
) -> anyhow::Result<(framewise_stages::Resume, Resumed)> {
    // This is where the run will write. A new directory of the run's own holds nothing yet.
    let writes_to = match (outside, reopened) {
        (Some(outside), _) => Some(outside.path.clone()),
        (None, Some(directory)) => Some(directory.path().join(checkpoints::CHECKPOINTS)),
        (None, None) => None,
    };
    if let (Some(ours), Search::Newest(directory)) = (&writes_to, &place.search)
        && same(Some(ours), Some(directory))
    {
        store::recover(ours).map_err(Failure::from)?;
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

/// Whether two paths lead to the same directory.
fn same(one: Option<&Path>, other: Option<&Path>) -> bool {
    let real = |path: Option<&Path>| path.and_then(|path| path.canonicalize().ok());
    real(one).is_some() && real(one) == real(other)
}

fn shown(args: &RunArgs) -> Level {
    match (args.quiet, args.verbose) {
        (true, _) => Level::Warning,
        (_, true) => Level::Debug,
        _ => Level::Info,
    }
}
