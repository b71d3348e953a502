//! `checkpoint`: writes training states atomically and durably, and keeps the last few and the best.
//!
//! Laws: a checkpoint is either complete or not there. A failed write stops the run and leaves the earlier checkpoints
//! as they were. The checkpoint from which a run is resumed is written again only if its content would differ.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use framewise_pipeline::Write;
use framewise_pipeline::prelude::*;
use serde_json::Value;

use crate::failure::{collective_failure, compute_failure};
use crate::model_kit::division::joined_moments;
use crate::model_kit::estimates;
use crate::model_kit::scoring;
use crate::optim::DividedMoments;
use crate::payload::{Held, TrainState};
use crate::ranks::Channel;
use crate::run_state::ledger::Ledger;
use crate::run_state::parts::while_waiting;
use crate::run_state::rescue::Rescue;
use crate::run_state::resume::{Cursor, Resume};
use crate::run_state::spread;
use crate::store::{self, Checkpoint};

/// The stage type `checkpoint`.
pub(crate) struct CheckpointStage;

/// When and where states are written does not change them.
#[derive(Keys)]
#[key(free)]
pub(crate) struct Config {
    /// Writes after every n-th step. With 0, it never writes by steps.
    #[key(range = 0.., default = 0, unit = "steps")]
    every_steps: u64,
    /// Writes at the end of every n-th epoch. With 0, it never writes by epochs.
    #[key(range = 0.., default = 1, unit = "epochs")]
    every_epochs: u64,
    /// The number of the newest checkpoints that are kept.
    #[key(range = 1..=1 << 32, default = 3, unit = "checkpoints")]
    keep_last: usize,
    /// Also keeps the best checkpoint by this metric, such as "gap". An `evaluate` stage before this one measures it.
    best: Option<String>,
    /// Which value of `best` is the best. Without this key it follows from the metric: the lowest loss, and the highest
    /// value of any other. A result of a stage type of your own needs this key.
    best_is: Option<BestIs>,
    /// Directory of the checkpoints; the run directory's checkpoints/ if not set.
    #[key(output_directory)]
    path: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, KeyWord)]
enum BestIs {
    Highest,
    Lowest,
}

impl Config {
    /// The metric by which the best checkpoint is kept, and whether its highest value is the best one.
    fn best(&self) -> Option<(&str, bool)> {
        let metric = self.best.as_deref()?;
        let follows = || scoring::lower_is_better(metric).map(|lower| !lower);
        // `check` has refused a metric from which no direction follows.
        Some((metric, self.best_is.map(|is| is == BestIs::Highest).or_else(follows).unwrap_or(true)))
    }
}

/// The bytes of the two buffers through which tensors are converted and written.
const WRITE_BUFFERS: u64 = 2 << 18;

/// The folder of a run directory in which its checkpoints lie.
const DIRECTORY: &str = "checkpoints";

/// The bytes of a checkpoint of the model that is trained: its weights and the two moments of each. It is 0 where no
/// optimizer sends its states.
fn checkpoint_bytes(upstream: &Upstream<'_>) -> u64 {
    estimates::state_bytes(upstream).unwrap_or(0)
}

impl Config {
    /// The most checkpoints that lie in the directory at once. While one is written, the oldest is still there.
    fn kept_at_once(&self, upstream: &Upstream<'_>) -> u64 {
        let kept = (self.keep_last as u64).saturating_add(u64::from(self.best.is_some())).saturating_add(1);
        let epochs = upstream.iter().find_map(|stage| stage.settings.get("epochs")?.as_integer());
        match epochs.and_then(|epochs| u64::try_from(epochs).ok()) {
            // One for every so many epochs, and one at the end.
            Some(epochs) if self.every_steps == 0 => {
                let written = epochs.checked_div(self.every_epochs).unwrap_or(0).saturating_add(1);
                kept.min(written)
            }
            _ => kept,
        }
    }
}

impl Config {
    /// The number of checkpoints that a run of these states writes: one after every so many steps, at the end of every so
    /// many epochs, and at the end. `None` if the steps are not known.
    fn written(&self, states: Flow) -> Option<u64> {
        let (steps, total) = (states.items.filter(|steps| *steps > 0)?, states.total()?);
        let due_by_steps = |step: u64| self.every_steps > 0 && step.is_multiple_of(self.every_steps);
        let epochs = total / steps;
        let by_steps = total.checked_div(self.every_steps).unwrap_or(0);
        let by_epochs = epochs.checked_div(self.every_epochs).unwrap_or(0);
        let at = |n: u64| n.saturating_mul(self.every_epochs).saturating_mul(steps);
        // A state is written once, whatever it is due for.
        let twice = if self.every_steps == 0 || by_epochs == 0 {
            0
        } else {
            (1..=by_epochs.min(1 << 20)).filter(|n| due_by_steps(at(*n))).count() as u64
        };
        let last_is_due = due_by_steps(total) || by_epochs > 0 && at(by_epochs) == total;
        Some(by_steps + by_epochs - twice + u64::from(!last_is_due))
    }
}

struct Writing {
    config: Config,
    dir: PathBuf,
    input: Input<TrainState>,
    context: StageContext,
    /// The newest state, and whether it was written. Between two packets, it is let go of.
    last: Option<(Held, bool)>,
    /// Whether the last state closed its epoch.
    epoch_done: bool,
    ledger: Arc<Ledger>,
    rescue: Arc<Rescue>,
    /// The way to the other ranks, where each has a slice of the state.
    channel: Option<Channel>,
    resumed: Option<Resumed>,
}

/// The content of the checkpoint from which the run is resumed.
struct Resumed {
    directory: PathBuf,
    cursor: Value,
    epoch_done: bool,
    metrics: BTreeMap<String, f64>,
}

impl StageType for CheckpointStage {
    const NAME: &'static str = "checkpoint";
    const DOC: &'static str = "Writes checkpoints into the run directory's checkpoints/: weights, Adam's moments, step, \
                               epoch, samples, seed and the resolved graph, every n steps or epochs and at the end. Each \
                               is written aside, flushed to the disk and renamed. Training goes on meanwhile.";
    type Config = Config;

    fn ports(_config: &Config) -> Ports {
        Ports { inputs: vec![InputPort::of::<TrainState>("states")], outputs: vec![] }
    }

    fn check(config: &Config, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        let Some(metric) = &config.best else {
            let needless = config.best_is.map(|_| ("best_is", "it has no effect without `best`".to_owned()));
            return needless.into_iter().collect();
        };
        let known = scoring::COMPARED.map(|(name, _)| name);
        if config.best_is.is_some() || known.contains(&metric.as_str()) {
            return Vec::new();
        }
        let known = known.join(", ");
        let problem = format!(
            "no evaluation measures `{metric}`: there are {known}; if a stage type of your own gives it as a result, \
             say with best_is which value is the best"
        );
        vec![("best", problem)]
    }

    fn check_upstream(config: &Config, upstream: &Upstream<'_>, _context: &CheckContext<'_>) -> Vec<Remark> {
        let sender = upstream.iter().next().filter(|stage| stage.type_name == "optimizer");
        let (Some(metric), Some(sender)) = (&config.best, sender) else { return Vec::new() };
        let problem = format!(
            "nothing measures `{metric}` before this stage, because the states come from stage `{}` itself: put an \
             `evaluate` stage between the two",
            sender.name
        );
        vec![Remark::error("best", problem)]
    }

    fn survey(config: &Config, site: &Site<'_>) -> Survey {
        let mut survey = Survey::default();
        let path = config.path.clone().unwrap_or_else(|| PathBuf::from(DIRECTORY));
        let least = checkpoint_bytes(site.upstream);
        let bytes = config.kept_at_once(site.upstream).saturating_mul(least);
        survey.writes.push(Write { key: "path", path, is_directory: true, bytes, least });
        survey
    }

    fn estimate(config: &Config, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let states = flows.of("states");
        let estimate = Estimate::default()
            .holds("the state to be written", states.bytes)
            .holds(
                "the state that is made meanwhile",
                estimates::next_state_bytes(site.upstream, states.bytes),
            )
            .holds("moments put together of slices", joined_moments(site.upstream))
            .holds("buffers for writing", WRITE_BUFFERS);
        let Some(written) = config.written(states) else { return Some(estimate) };
        let kept = (config.keep_last as u64).saturating_add(u64::from(config.best.is_some()));
        Some(
            estimate
                .counts("checkpoints written", written)
                .counts("checkpoints kept at most", written.min(kept)),
        )
    }

    fn build(config: Config, wiring: &mut Wiring, context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        if let Some((metric, highest)) = config.best() {
            let which = if highest { "highest" } else { "lowest" };
            context
                .message(Level::Debug, format!("the best checkpoint is the one with the {which} {metric}"));
        }
        let dir = match (&config.path, &context.run_dir) {
            (Some(path), _) => path.clone(),
            (None, Some(run_dir)) => run_dir.join(DIRECTORY),
            (None, None) => return Err(Failure::config("without a run directory `path` must be set")),
        };
        let input = wiring.input("states")?;
        let resumed = match context.resources.get::<Resume>() {
            Some(resume) => Some(Resumed {
                directory: resume.directory.clone(),
                cursor: resume.checkpoint.cursor.clone(),
                epoch_done: resume.cursor()?.epoch_done,
                metrics: resume.checkpoint.metrics.clone(),
            }),
            None => None,
        };
        Ok(Box::new(Writing {
            config,
            dir,
            input,
            context: context.clone(),
            last: None,
            epoch_done: false,
            ledger: Ledger::of(context)?,
            rescue: Rescue::of(context),
            channel: spread::channel(context)?,
            resumed,
        }))
    }
}

impl Stage for Writing {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        loop {
            let packet = self.input.recv();
            if matches!(packet, Err(StageError::Stopped)) && self.rescue.is_wanted() {
                self.rescue();
            }
            match packet? {
                Packet::Item(state) => {
                    let due =
                        self.config.every_steps > 0 && state.step.is_multiple_of(self.config.every_steps);
                    let resumed = self.resumed.as_ref().filter(|_| state.restored);
                    self.epoch_done = resumed.is_some_and(|resumed| resumed.epoch_done);
                    let handover = state.handover.clone();
                    self.last = Some((Held::Whole(state), false));
                    if let Some(handover) = handover {
                        self.rescue();
                        // The stage that failed may now report its failure.
                        handover.answer();
                    } else if due {
                        self.write_last()?;
                    }
                    self.let_go();
                }
                Packet::Mark(Mark::EpochEnd { epoch }) => {
                    self.epoch_done = true;
                    if self.config.every_epochs > 0 && (epoch + 1).is_multiple_of(self.config.every_epochs) {
                        self.write_last()?;
                    }
                }
                Packet::End => {
                    self.write_last()?;
                    return Ok(());
                }
            }
        }
    }
}

impl Writing {
    /// Writes the state in hand because another stage has failed. That stage's failure is the run's, so a failure to
    /// write is only a warning.
    fn rescue(&mut self) {
        if self.channel.is_some() {
            let text = "the state in hand is lost: the other ranks have the rest of it";
            self.context.message(Level::Warning, text);
            return;
        }
        if let Err(failure) = self.write_last() {
            self.context.message(Level::Warning, format!("the state in hand is lost: {failure}"));
        }
    }

    /// Lets go of the state in hand, so that the optimizer may write the next one into its memory.
    fn let_go(&mut self) {
        if let Some((Held::Whole(state), written)) =
            self.last.take_if(|(held, _)| matches!(held, Held::Whole(_)))
        {
            self.last = Some((Held::from(state), written));
        }
    }

    /// Writes the state in hand, unless it was written. After a failure, that may be a newer one than the last that came.
    fn write_last(&mut self) -> Result<(), Failure> {
        let Some((held, false)) = &self.last else { return Ok(()) };
        let start = Instant::now();
        let Some(state) = held.recall() else {
            return Err(Failure::internal(
                "the stage that makes the states failed while it wrote the newest one",
            ));
        };
        // No mark has come for a newer state.
        self.epoch_done &= state.step == held.step();
        let state = &state;
        let moments = match &self.channel {
            None => state.moments.clone(),
            Some(channel) => {
                let gathered = while_waiting(&self.context, || state.moments.gather(channel));
                let gathered = gathered.map_err(|e| collective_failure("gathering Adam's moments", &e))?;
                let Some(gathered) = gathered else {
                    // Rank 0 writes it.
                    if let Some((_, written)) = &mut self.last {
                        *written = true;
                    }
                    return Ok(());
                };
                Arc::new(gathered)
            }
        };
        let checkpoint = self.context_of(state, &moments)?;
        let measured: Option<Vec<String>> = state.metrics.as_ref().map(|m| m.keys().cloned().collect());
        let there = self.resumed.as_ref().filter(|_| state.restored);
        let there = there.filter(|resumed| resumed.is(&checkpoint, &self.dir)).map(|r| r.directory.clone());
        if let Some((_, written)) = &mut self.last {
            *written = true;
        }
        let is_new = there.is_none();
        let path = match there {
            Some(path) => path,
            None => {
                let _task = self.context.meter.begin_task("writing a checkpoint");
                store::save(&self.dir, &checkpoint).map_err(Failure::from)?
            }
        };
        let seconds = start.elapsed().as_secs_f64();
        let best = self.config.best();
        if let (Some((wanted, _)), Some(measured)) = (best, measured)
            && !measured.iter().any(|name| name == wanted)
        {
            let there = measured.join(", ");
            return Err(Failure::config(format!(
                "best = \"{wanted}\": the evaluation gives no such number; it gives {there}"
            )));
        }
        if let Some((metric, highest)) = best {
            store::mark_best(&self.dir, metric, highest).map_err(Failure::from)?;
        }
        store::prune(&self.dir, self.config.keep_last, best).map_err(Failure::from)?;
        if is_new {
            ::metrics::gauge!("framewise_checkpoint_duration_seconds").set(seconds);
            self.context.message(Level::Info, format!("checkpoint {}", path.display()));
        }
        Ok(())
    }

    fn context_of(&self, state: &TrainState, moments: &DividedMoments) -> Result<Checkpoint, Failure> {
        let cursor = self.cursor(state)?;
        let names = || state.weights.model.parameters().into_iter().map(|p| p.name);
        let moments = moments.join();
        let moments = moments.map_err(|e| compute_failure("joining Adam's moments", &e))?;
        let first = names().zip(moments.first).map(|(name, tensor)| (format!("first.{name}"), tensor));
        let second = names().zip(moments.second).map(|(name, tensor)| (format!("second.{name}"), tensor));
        Ok(Checkpoint {
            step: state.step,
            epoch: state.epoch,
            samples: state.samples,
            updates: moments.updates,
            seed: self.context.seed,
            cursor,
            model: state.weights.model.describe(),
            graph: self.context.resolved_graph.to_string(),
            weights: state.weights.named_tensors(),
            moments: first.chain(second).collect(),
            metrics: state.metrics.clone().unwrap_or_default(),
        })
    }

    fn cursor(&self, state: &TrainState) -> Result<Value, Failure> {
        let furthest = (!self.epoch_done).then_some(state.progress.furthest);
        let cursor = Cursor {
            step: state.step,
            epoch: state.epoch,
            epoch_done: self.epoch_done,
            epoch_steps: state.progress.steps,
            epoch_samples: state.progress.samples,
            furthest: state.progress.furthest,
            measured: state.measured.as_deref().cloned(),
            sources: self.ledger.sources(),
            rejected: self.ledger.rejected(state.epoch, furthest)?,
        };
        serde_json::to_value(cursor).map_err(|e| Failure::internal(format!("writing the cursor: {e}")))
    }
}

impl Resumed {
    /// Whether writing this checkpoint into `dir` would change nothing but the text of the graph.
    fn is(&self, checkpoint: &Checkpoint, dir: &Path) -> bool {
        let same = |a: &f64, b: &f64| a.to_bits() == b.to_bits() || !a.is_finite() && !b.is_finite();
        let metrics = || self.metrics.iter().zip(&checkpoint.metrics);
        let place = |path: &Path| std::fs::canonicalize(path).ok();
        self.cursor == checkpoint.cursor
            && self.metrics.len() == checkpoint.metrics.len()
            && metrics().all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
            && place(&self.directory).is_some()
            && place(&self.directory).as_deref().and_then(Path::parent) == place(dir).as_deref()
    }
}
