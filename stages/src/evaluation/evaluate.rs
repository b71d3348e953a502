//! `evaluate`: runs another graph with the weights of training, every n epochs or steps.
//!
//! Laws: the inner graph sees exactly the weights of the state for which it is run. Its numbers leave together with
//! that state, so that a checkpoint behind this stage knows which measurement belongs to the state. Linked ranks divide the
//! records of the inner graph among them, and all go on with the numbers of rank 0, which has them of all records. Weights that were
//! measured before the run was interrupted are not measured again. Before a failed evaluation ends the run, the state
//! is handed to the stages behind this one, and a checkpoint among them writes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use framewise_pipeline::engine::{Earlier, Pipeline, RunOptions, Status};
use framewise_pipeline::graph::ResolvedGraph;
use framewise_pipeline::prelude::*;
use framewise_pipeline::{InnerGraph, Observer, Resources, Settings};

use super::inner::{Config, inner_graph, load, refuse_streams};
use super::together::Together;
use crate::model_kit::estimates;
use crate::model_kit::kind::{MODEL, ModelKind};
use crate::model_kit::scoring;
use crate::model_kit::weights_file::InjectedWeights;
use crate::payload::{Handover, Lease, Measured, Row, TrainState, WeightsVersion};
use crate::ranks::Split;
use crate::run_state::metrics_log::{Kind, RunLog};
use crate::run_state::parts::while_waiting;
use crate::run_state::resume::Resume;
use crate::words::{count, epoch};

/// The stage type `evaluate`.
pub(crate) struct Evaluate {
    graph: ResolvedGraph,
    every_epochs: u64,
    every_steps: u64,
    context: StageContext,
    /// The ranks that divide the records of the inner graph.
    together: Option<Together>,
    /// The last state waits here: only the next packet tells whether its epoch ends with it.
    last: Option<TrainState>,
    /// Shows the last state to the stages behind this one.
    row: Row<TrainState>,
    /// The lease of the last state that was sent.
    sent: Option<Lease<TrainState>>,
    /// What the evaluations so far came to.
    earlier: Arc<Earlier>,
    /// The last measurement.
    measured: Option<Arc<Measured>>,
}

impl TransformType for Evaluate {
    const NAME: &'static str = "evaluate";
    const DOC: &'static str = "Runs another graph with the current weights: its `load_weights` stage gets them in place of \
                               its file. The results become those of this run, a line of metrics.jsonl and TensorBoard \
                               scalars; states pass through, with the numbers attached to the one they were measured on. \
                               Training goes on meanwhile as far as the channels allow.";
    type Config = Config;

    fn ports(_config: &Config) -> (InputPort, OutputPort) {
        (InputPort::of::<TrainState>("states"), OutputPort::of::<TrainState>("states", 1))
    }

    fn check(config: &Config, context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        let problem = context.is_inner.then(|| {
            format!(
                "this graph has an `evaluate` stage itself, so no `evaluate` stage can run it: name a graph that only \
                 measures, not {}",
                config.graph.display()
            )
        });
        problem.map(|problem| ("graph", problem)).into_iter().chain(config.wrong_uses()).collect()
    }

    fn graphs(config: &Config, context: &CheckContext<'_>) -> Vec<InnerGraph> {
        vec![inner_graph(config, context.registry)]
    }

    fn check_upstream(config: &Config, upstream: &Upstream<'_>, context: &CheckContext<'_>) -> Vec<Remark> {
        // What is wrong with the inner graph by itself was told before.
        let Ok(inner) = load(config, context.registry) else { return Vec::new() };
        if inner.stages.iter().all(|stage| stage.type_name != "load_weights") {
            let graph = config.graph.display();
            let text = format!("the graph {graph} has no `load_weights` stage to hand the weights to");
            return vec![Remark::error("graph", text)];
        }
        let (Some(optimizer), true) = (upstream.nearest("optimizer"), config.is_ever_due()) else {
            return Vec::new();
        };
        let weights = |ports: &Ports| ports.outputs.iter().find(|port| port.name == "weights").cloned();
        let Some(trained) = weights(optimizer.ports) else { return Vec::new() };
        let loaded = inner.stages.iter().filter(|stage| stage.type_name == "load_weights");
        let problems = loaded.flat_map(|stage| {
            let model = |settings: &Settings| settings.text(MODEL).to_owned();
            let (ours, theirs) = (model(optimizer.settings), model(&stage.settings));
            let reason = if ours == theirs {
                weights(&stage.ports).and_then(|weights| trained.payload.mismatch(&weights.payload))
            } else {
                Some(format!("the model `{ours}` is trained where the model `{theirs}` is measured"))
            };
            let (graph, name, trains) = (config.graph.display(), &stage.name, optimizer.name);
            if let Some(reason) = reason {
                let text = format!(
                    "the graph {graph} does not measure the model that stage `{trains}` trains: {reason}; give its stage \
                     `{name}` the configuration of `{trains}`"
                );
                return vec![Remark::error("graph", text)];
            }
            let differences = ModelKind::of(optimizer.settings).differences(optimizer.settings, &stage.settings);
            let remarks = differences.into_iter().map(|(key, ours, theirs)| {
                let text = format!(
                    "the graph {graph} measures with {key} = {theirs} in its stage `{name}` what stage `{trains}` trains \
                     with {key} = {ours}"
                );
                Remark::warning("graph", text).against(optimizer, key)
            });
            remarks.collect()
        });
        problems.collect()
    }

    fn survey(config: &Config, site: &Site<'_>) -> Survey {
        let mut survey = Survey::default();
        if config.is_ever_due() {
            survey.graphs.push(inner_graph(config, site.check.registry));
        }
        survey
    }

    fn estimate(config: &Config, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let states = flows.of("states");
        let every = |steps: u64, every: u64| steps.checked_div(every).unwrap_or(0);
        let runs = states.total().zip(states.epochs).map(|(total, epochs)| {
            every(total, config.every_steps).saturating_add(every(epochs, config.every_epochs))
        });
        // What the inner graph holds is counted by its own stages.
        let estimate = Estimate::default().holds("the state to be measured", states.bytes).holds(
            "the state that is made meanwhile",
            estimates::next_state_bytes(site.upstream, states.bytes),
        );
        let estimate = runs.into_iter().fold(estimate, |estimate, runs| estimate.counts("evaluations", runs));
        Some(estimate.sends("states", Flow { newest_is_held: false, ..states }))
    }

    fn new(config: Config, context: &StageContext) -> Result<Self, Failure> {
        RunLog::go_on(context)?;
        let graph = load(&config, &context.registry).map_err(|errors| {
            let path = config.graph.display();
            Failure::config(format!("the graph {path} has errors:\n{}", errors.render(false)))
        })?;
        if config.is_ever_due() {
            refuse_streams(&graph)?;
        }
        let together = Together::of(&graph, context)?;
        Ok(Self {
            graph,
            together,
            every_epochs: config.every_epochs,
            every_steps: config.every_steps,
            context: context.clone(),
            last: None,
            row: Row::default(),
            sent: None,
            earlier: Arc::default(),
            measured: None,
        })
    }
}

impl Transform for Evaluate {
    type In = TrainState;
    type Out = TrainState;

    fn process(
        &mut self,
        mut state: TrainState,
        out: &mut Emitter<'_, TrainState>,
    ) -> Result<(), StageError> {
        self.send_last(out)?;
        self.show(&state);
        if state.handover.is_some() {
            // An earlier stage has failed, so the state only has to be written.
            return self.send(state, out);
        }
        let due = self.every_steps > 0 && state.step.is_multiple_of(self.every_steps);
        if state.restored && self.restore(&mut state, due, out)? {
            // No mark will come for its epoch.
            return self.send(state, out);
        }
        if due && state.metrics.is_none() {
            self.evaluate(&mut state, out)?;
        }
        self.last = Some(state);
        Ok(())
    }

    fn at_mark(&mut self, mark: Mark, out: &mut Emitter<'_, TrainState>) -> Result<(), StageError> {
        let Mark::EpochEnd { epoch } = mark;
        let Some(mut state) = self.last.take() else { return Ok(()) };
        if self.is_due_after(epoch) && state.metrics.is_none() {
            self.evaluate(&mut state, out)?;
        }
        self.send(state, out)?;
        // The mark tells the stages behind this one that the state is the last of its epoch, and they may want it then.
        if let Some(lease) = self.sent.take() {
            self.row.keep(lease);
        }
        Ok(())
    }

    fn at_end(&mut self, out: &mut Emitter<'_, TrainState>) -> Result<(), StageError> {
        self.send_last(out)
    }
}

impl Evaluate {
    fn is_due_after(&self, epoch: u64) -> bool {
        self.every_epochs > 0 && (epoch + 1).is_multiple_of(self.every_epochs)
    }

    fn send_last(&mut self, out: &mut Emitter<'_, TrainState>) -> Result<(), StageError> {
        self.last.take().map_or(Ok(()), |state| self.send(state, out))
    }

    fn send(&mut self, state: TrainState, out: &mut Emitter<'_, TrainState>) -> Result<(), StageError> {
        let lease = self.row.lease();
        self.sent = Some(lease.clone());
        out.emit(TrainState { measured: self.measured.clone(), lease: Some(lease), ..state })
    }

    /// Shows a state to the stages behind this one, which have let go of the one before.
    fn show(&self, state: &TrainState) {
        let measured = self.measured.clone().or_else(|| state.measured.clone());
        *self.row.newest() = Some(TrainState { measured, ..state.shown() });
    }

    /// Takes up the state from which the run is resumed. Returns whether its epoch was done. A measurement that was due
    /// and is not in the checkpoint is made now.
    fn restore(
        &mut self,
        state: &mut TrainState,
        due: bool,
        out: &mut Emitter<'_, TrainState>,
    ) -> Result<bool, StageError> {
        self.measured = state.measured.clone();
        for (name, value) in self.measured.iter().flat_map(|measured| &measured.metrics) {
            self.context.results.set(name.clone(), value.unwrap_or(f64::NAN));
        }
        let Some(resume) = self.context.resources.get::<Resume>() else { return Ok(false) };
        let epoch_done = resume.cursor()?.epoch_done;
        if state.metrics.is_none() && (due || epoch_done && self.is_due_after(state.epoch)) {
            self.evaluate(state, out)?;
        }
        Ok(epoch_done)
    }

    /// Measures the state and notes the result. If that fails, the state is handed over before the failure is returned.
    fn evaluate(
        &mut self,
        state: &mut TrainState,
        out: &mut Emitter<'_, TrainState>,
    ) -> Result<(), StageError> {
        let Err(error) = self.measure(state) else { return Ok(()) };
        let (handover, answer) = Handover::new();
        match self.send(TrainState { handover: Some(handover), ..state.clone() }, out) {
            Ok(()) => answer.wait(&self.context.stop),
            // Nobody is left to write the state.
            Err(StageError::Closed) => {}
            Err(stopped) => return Err(stopped),
        }
        if matches!(error, StageError::Stopped) {
            // After a request to finish, the inner run gave up a wait for data that do not come.
            self.context.stop.trip();
        }
        Err(error)
    }

    fn measure(&mut self, state: &mut TrainState) -> Result<(), StageError> {
        let meter = self.context.meter.clone();
        let _task = meter.begin_task("evaluating");
        let resources = Resources::default();
        resources.insert(InjectedWeights(WeightsVersion {
            version: state.step,
            weights: state.weights.clone(),
            replicas: Vec::new(),
        }));
        if let Some(together) = &self.together {
            resources.insert(together.ranks.split_by(Split::Records).within(&self.context.stage));
        }
        let options = RunOptions {
            run_dir: None,
            rank: self.context.rank,
            ranks: self.context.ranks,
            resources: Arc::new(resources),
            observer: Arc::new(Inner { outer: self.context.clone() }),
            // A failure of the inner run must not stop the stages that are to write the state.
            stop: self.context.stop.child(),
            inside: Some(self.context.meter.clone()),
            earlier: self.earlier.clone(),
            ..RunOptions::default()
        };
        let pipeline =
            Pipeline::build(&self.graph, &self.context.registry, &options).map_err(inner_failure)?;
        let outcome = pipeline.run();
        match outcome.status {
            Status::Done | Status::FinishedEarly => {}
            Status::Stopped => return Err(StageError::Stopped),
            Status::Failed(error) => return Err(inner_failure(error).into()),
        }
        let results = match &self.together {
            Some(together) => while_waiting(&self.context, || together.of_rank_0(outcome.results))?,
            None => outcome.results,
        };
        self.record(state, results)
    }

    fn record(&mut self, state: &mut TrainState, results: BTreeMap<String, f64>) -> Result<(), StageError> {
        for (name, value) in &results {
            self.context.results.set(name.clone(), *value);
        }
        let values: Vec<_> = results.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        RunLog::of(&self.context).write(&self.context, Kind::Evaluation, state.step, state.epoch, &values)?;
        let shown = ["hit_at_1", "perr", "gap", "map", "loss"];
        let shown = shown.iter().filter_map(|name| {
            results.get(*name).map(|value| format!("{name} {}", scoring::shown(*value, 4)))
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        let step = state.step;
        self.context.message(
            Level::Info,
            format!("evaluation after step {} (epoch {}): {shown}", count(step), epoch(state.epoch)),
        );
        let finite = |(name, value): (&String, &f64)| (name.clone(), value.is_finite().then_some(*value));
        self.measured = Some(Arc::new(Measured { step, metrics: results.iter().map(finite).collect() }));
        state.metrics = Some(results);
        self.show(state);
        Ok(())
    }
}

fn inner_failure(error: framewise_pipeline::engine::RunError) -> Failure {
    Failure::new(error.failure.kind, format!("in the evaluation's graph: {error}"))
}

/// An observer that passes on the warnings of the inner run. The inner run's lines about progress count as details
/// here.
struct Inner {
    outer: StageContext,
}

impl Observer for Inner {
    fn message(&self, level: Level, stage: &str, text: &str) {
        let level = if level == Level::Info { Level::Debug } else { level };
        self.outer.message(level, format!("{stage}: {text}"));
    }
}
