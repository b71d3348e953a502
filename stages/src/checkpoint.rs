//! `checkpoint`: writes training states, atomically and durably, and keeps the last few and the best.
//!
//! Laws: a checkpoint is complete or not there; a failed write stops the run and leaves the earlier ones as they were. The
//! checkpoint that a run goes on from is written again only if it would say something else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use framewise_pipeline::context::Level;
use framewise_pipeline::{
    Component, Failure, Input, InputPort, KeyKind, KeySpec, Mark, Packet, PayloadType, Ports, Settings,
    Stage, StageContext, StageError, Wiring,
};
use serde::Deserialize;
use serde_json::Value;

use crate::ledger::Ledger;
use crate::load_weights::store_failure;
use crate::payload::TrainState;
use crate::resume::{Cursor, Resume};
use crate::store::{self, Checkpoint};

/// The stage type.
pub(crate) struct CheckpointStage;

#[derive(Deserialize)]
struct Config {
    every_steps: u64,
    every_epochs: u64,
    keep_last: usize,
    best: Option<String>,
    best_is: String,
    path: Option<PathBuf>,
}

struct Writing {
    config: Config,
    dir: PathBuf,
    input: Input<TrainState>,
    context: StageContext,
    /// The newest state and whether it was written.
    last: Option<(TrainState, bool)>,
    /// Whether the last state closed its epoch.
    epoch_done: bool,
    ledger: Arc<Ledger>,
    resumed: Option<Resumed>,
}

/// What the checkpoint that the run goes on from says.
struct Resumed {
    directory: PathBuf,
    cursor: Value,
    epoch_done: bool,
    metrics: BTreeMap<String, f64>,
}

impl Component for CheckpointStage {
    fn type_name(&self) -> &'static str {
        "checkpoint"
    }

    fn doc(&self) -> &'static str {
        "Writes checkpoints into the run directory's checkpoints/: weights, Adam's moments, step, epoch, samples, seed and \
         the resolved graph, every n steps or epochs and at the end. Each is written aside, flushed to the disk and \
         renamed. Training goes on meanwhile."
    }

    fn keys(&self) -> Vec<KeySpec> {
        let keys = vec![
            KeySpec::new("every_steps", KeyKind::at_least(0), "Writes after every n-th step; 0 never.")
                .default(0)
                .unit("steps"),
            KeySpec::new(
                "every_epochs",
                KeyKind::at_least(0),
                "Writes at the end of every n-th epoch; 0 never.",
            )
            .default(1)
            .unit("epochs"),
            KeySpec::new("keep_last", KeyKind::Integer(1..=1 << 32), "How many of the newest are kept.")
                .default(3)
                .unit("checkpoints"),
            KeySpec::new(
                "best",
                KeyKind::Text,
                "Keeps the best by this metric besides, such as \"gap\"; an `evaluate` stage before this one measures it.",
            ),
            KeySpec::new(
                "best_is",
                KeyKind::OneOf(&["highest", "lowest"]),
                "Which value of `best` is the best.",
            )
            .default("highest"),
            KeySpec::new(
                "path",
                KeyKind::Path,
                "Directory of the checkpoints; the run directory's checkpoints/ if not set.",
            ),
        ];
        // When and where states are written does not change them.
        keys.into_iter().map(KeySpec::free).collect()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        let states = InputPort::new::<TrainState>("states", PayloadType::of::<TrainState>());
        Ports { inputs: vec![states], outputs: vec![] }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let config: Config = settings.parse()?;
        let dir = match (&config.path, &context.run_dir) {
            (Some(path), _) => path.clone(),
            (None, Some(run_dir)) => run_dir.join("checkpoints"),
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
            resumed,
        }))
    }
}

impl Stage for Writing {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        loop {
            match self.input.recv()? {
                Packet::Item(state) => {
                    let due =
                        self.config.every_steps > 0 && state.step.is_multiple_of(self.config.every_steps);
                    let resumed = self.resumed.as_ref().filter(|_| state.restored);
                    self.epoch_done = resumed.is_some_and(|resumed| resumed.epoch_done);
                    self.last = Some((state, false));
                    if due {
                        self.write_last()?;
                    }
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
    fn write_last(&mut self) -> Result<(), Failure> {
        let Some((state, false)) = &self.last else { return Ok(()) };
        let start = Instant::now();
        let checkpoint = self.context_of(state)?;
        let there = self.resumed.as_ref().filter(|_| state.restored);
        let there = there.filter(|resumed| resumed.is(&checkpoint, &self.dir)).map(|r| r.directory.clone());
        if let Some((_, written)) = &mut self.last {
            *written = true;
        }
        let is_new = there.is_none();
        let path = match there {
            Some(path) => path,
            None => store::save(&self.dir, &checkpoint).map_err(store_failure)?,
        };
        let seconds = start.elapsed().as_secs_f64();
        let best = self.config.best.as_deref().map(|metric| (metric, self.config.best_is == "highest"));
        if let Some((metric, highest)) = best {
            store::mark_best(&self.dir, metric, highest).map_err(store_failure)?;
        }
        store::prune(&self.dir, self.config.keep_last, best).map_err(store_failure)?;
        if is_new {
            ::metrics::gauge!("framewise_checkpoint_duration_seconds").set(seconds);
            self.context.message(Level::Info, format!("checkpoint {}", path.display()));
        }
        Ok(())
    }

    fn context_of(&self, state: &TrainState) -> Result<Checkpoint, Failure> {
        let cursor = self.cursor(state)?;
        let names = || state.weights.model.parameters().into_iter().map(|p| p.name);
        let first = names().zip(&state.moments.first).map(|(n, t)| (format!("first.{n}"), t.clone()));
        let second = names().zip(&state.moments.second).map(|(n, t)| (format!("second.{n}"), t.clone()));
        Ok(Checkpoint {
            step: state.step,
            epoch: state.epoch,
            samples: state.samples,
            updates: state.moments.updates,
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
