//! `evaluate`: runs another graph with the weights of training, every n epochs or steps.
//!
//! Laws: the inner graph sees exactly the weights of the state it is run for; its numbers leave attached to that
//! state, so that a checkpoint behind this stage knows which measurement belongs to it. Weights that were measured before
//! the run was interrupted are not measured again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use framewise_pipeline::context::{Level, Observer};
use framewise_pipeline::engine::{Pipeline, RunOptions, Status};
use framewise_pipeline::graph::{self, ResolvedGraph};
use framewise_pipeline::{
    Component, Failure, Input, InputPort, KeyKind, KeySpec, Mark, Output, OutputPort, Packet, PayloadType,
    Ports, Resources, Settings, Stage, StageContext, StageError, Wiring,
};

use crate::load_weights::InjectedWeights;
use crate::payload::{TrainState, WeightsVersion};
use crate::resume::{Measured, Resume};
use crate::run_log::RunLog;

/// The stage type.
pub(crate) struct Evaluate;

struct Evaluating {
    graph: ResolvedGraph,
    every_epochs: u64,
    every_steps: u64,
    input: Input<TrainState>,
    output: Output<TrainState>,
    context: StageContext,
    /// The last measurement.
    measured: Option<Arc<Measured>>,
}

impl Component for Evaluate {
    fn type_name(&self) -> &'static str {
        "evaluate"
    }

    fn doc(&self) -> &'static str {
        "Runs another graph with the current weights: its `load_weights` stage gets them in place of its file. The results \
         become those of this run, a line of metrics.jsonl and TensorBoard scalars; states pass through, with the numbers \
         attached to the one they were measured on. Training goes on meanwhile as far as the channels allow."
    }

    fn keys(&self) -> Vec<KeySpec> {
        vec![
            KeySpec::new("graph", KeyKind::Path, "The graph to run; it needs a `load_weights` stage.")
                .required()
                .free(),
            KeySpec::new(
                "every_epochs",
                KeyKind::at_least(0),
                "Runs at the end of every n-th epoch; 0 never.",
            )
            .default(1)
            .unit("epochs")
            .free(),
            KeySpec::new("every_steps", KeyKind::at_least(0), "Runs after every n-th step; 0 never.")
                .default(0)
                .unit("steps")
                .free(),
            KeySpec::new(
                "files",
                KeyKind::Paths,
                "Files that the inner graph's `tfrecord_reader` reads in place of its own.",
            )
            .free(),
            KeySpec::new(
                "devices",
                KeyKind::Texts,
                "Devices of the inner graph's stages in place of its own.",
            )
            .free(),
        ]
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports {
            inputs: vec![InputPort::new::<TrainState>("states", PayloadType::of::<TrainState>())],
            outputs: vec![OutputPort::new::<TrainState>("states", PayloadType::of::<TrainState>(), 1)],
        }
    }

    fn check(&self, settings: &Settings) -> Vec<(&'static str, String)> {
        load(settings).err().map(|e| ("graph", e)).into_iter().collect()
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        RunLog::go_on(context)?;
        Ok(Box::new(Evaluating {
            graph: load(settings).map_err(Failure::config)?,
            every_epochs: settings.integer("every_epochs"),
            every_steps: settings.integer("every_steps"),
            input: wiring.input("states")?,
            output: wiring.output("states")?,
            context: context.clone(),
            measured: None,
        }))
    }
}

/// Loads and checks the inner graph; the error is what `check` would print for it.
fn load(settings: &Settings) -> Result<ResolvedGraph, String> {
    let path = PathBuf::from(settings.text("graph"));
    let load = |changes: &[graph::Override]| {
        graph::load(&path, &crate::registry(), changes)
            .map_err(|errors| format!("the graph {} has errors:\n{}", path.display(), errors.render(false)))
    };
    let mut loaded = load(&[])?;
    let changes = changes(&loaded.graph, settings);
    if !changes.is_empty() {
        loaded = load(&changes)?;
    }
    if loaded.graph.stages.iter().any(|s| s.type_name == "evaluate") {
        return Err(format!("the graph {} has an `evaluate` stage itself", path.display()));
    }
    if loaded.graph.stages.iter().all(|s| s.type_name != "load_weights") {
        return Err(format!(
            "the graph {} has no `load_weights` stage to hand the weights to",
            path.display()
        ));
    }
    Ok(loaded.graph)
}

/// The inner graph's keys that this stage's `files` and `devices` replace.
fn changes(inner: &ResolvedGraph, settings: &Settings) -> Vec<graph::Override> {
    let mut changes = Vec::new();
    for stage in &inner.stages {
        let keys = [
            ("files", stage.type_name == "tfrecord_reader"),
            ("devices", stage.settings.get("devices").is_some()),
        ];
        for (key, applies) in keys {
            if let (true, Some(value)) = (applies, settings.get(key)) {
                changes.push(graph::Override {
                    key: format!("stages.{}.{key}", stage.name),
                    value: value.to_string(),
                });
            }
        }
    }
    changes
}

impl Stage for Evaluating {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        // The last state waits here: only the next packet tells whether its epoch ends with it.
        let mut last: Option<TrainState> = None;
        loop {
            match self.input.recv()? {
                Packet::Item(mut state) => {
                    if let Some(before) = last.take() {
                        self.send(before)?;
                    }
                    let due = self.every_steps > 0 && state.step.is_multiple_of(self.every_steps);
                    if state.restored && self.restore(&mut state, due)? {
                        // No mark will come for its epoch.
                        self.send(state)?;
                        continue;
                    }
                    if due && state.metrics.is_none() {
                        self.evaluate(&mut state)?;
                    }
                    last = Some(state);
                }
                Packet::Mark(mark) => {
                    let Mark::EpochEnd { epoch } = mark;
                    if let Some(mut state) = last.take() {
                        if self.is_due_after(epoch) && state.metrics.is_none() {
                            self.evaluate(&mut state)?;
                        }
                        self.send(state)?;
                    }
                    self.output.mark(mark)?;
                }
                Packet::End => {
                    if let Some(state) = last.take() {
                        self.send(state)?;
                    }
                    return Ok(());
                }
            }
        }
    }
}

impl Evaluating {
    fn is_due_after(&self, epoch: u64) -> bool {
        self.every_epochs > 0 && (epoch + 1).is_multiple_of(self.every_epochs)
    }

    fn send(&mut self, state: TrainState) -> Result<(), StageError> {
        self.output.send(TrainState { measured: self.measured.clone(), ..state })
    }

    /// Takes up the state that the run goes on from; returns whether its epoch was done. A measurement that was due and
    /// is not in the checkpoint is made up for.
    fn restore(&mut self, state: &mut TrainState, due: bool) -> Result<bool, StageError> {
        self.measured = state.measured.clone();
        for (name, value) in self.measured.iter().flat_map(|measured| &measured.metrics) {
            self.context.results.set(name.clone(), value.unwrap_or(f64::NAN));
        }
        let Some(resume) = self.context.resources.get::<Resume>() else { return Ok(false) };
        let epoch_done = resume.cursor()?.epoch_done;
        if state.metrics.is_none() && (due || epoch_done && self.is_due_after(state.epoch)) {
            self.evaluate(state)?;
        }
        Ok(epoch_done)
    }

    fn evaluate(&mut self, state: &mut TrainState) -> Result<(), StageError> {
        let resources = Resources::default();
        resources
            .insert(InjectedWeights(WeightsVersion { version: state.step, weights: state.weights.clone() }));
        let options = RunOptions {
            run_dir: None,
            resources: Arc::new(resources),
            observer: Arc::new(Inner { outer: self.context.clone() }),
            stop: self.context.stop.clone(),
            inside: Some(self.context.meter.clone()),
            ..RunOptions::default()
        };
        let pipeline = Pipeline::build(&self.graph, &crate::registry(), &options).map_err(inner_failure)?;
        let outcome = pipeline.run();
        match outcome.status {
            Status::Done | Status::FinishedEarly => {}
            Status::Stopped => return Err(StageError::Stopped),
            Status::Failed(error) => return Err(inner_failure(error).into()),
        }
        self.record(state, outcome.results)
    }

    fn record(&mut self, state: &mut TrainState, results: BTreeMap<String, f64>) -> Result<(), StageError> {
        for (name, value) in &results {
            self.context.results.set(name.clone(), *value);
        }
        let values: Vec<_> = results.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let run_dir = self.context.run_dir.as_deref();
        RunLog::of(&self.context).write(run_dir, "evaluation", state.step, state.epoch, &values)?;
        let shown = ["hit_at_1", "perr", "gap", "map", "loss"];
        let shown =
            shown.iter().filter_map(|name| results.get(*name).map(|value| format!("{name} {value:.4}")));
        let shown = shown.collect::<Vec<_>>().join(", ");
        let (step, epoch) = (state.step, state.epoch);
        self.context.message(Level::Info, format!("evaluation after step {step} (epoch {epoch}): {shown}"));
        let finite = |(name, value): (&String, &f64)| (name.clone(), value.is_finite().then_some(*value));
        self.measured = Some(Arc::new(Measured { step, metrics: results.iter().map(finite).collect() }));
        state.metrics = Some(results);
        Ok(())
    }
}

fn inner_failure(error: framewise_pipeline::engine::RunError) -> Failure {
    Failure::new(error.failure.kind, format!("in the evaluation's graph: {error}"))
}

/// Passes the inner run's warnings on; its progress lines are details here.
struct Inner {
    outer: StageContext,
}

impl Observer for Inner {
    fn message(&self, level: Level, stage: &str, text: &str) {
        let level = if level == Level::Info { Level::Debug } else { level };
        self.outer.message(level, format!("{stage}: {text}"));
    }
}
