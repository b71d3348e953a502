//! From a resolved graph to channels, stages and meters.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::monitor::{EdgeMonitor, Monitor, OutputProbe, Parts, StageMonitor, UnitClocks};
use super::options::RunOptions;
use super::outcome::{RunError, panicked};
use super::units::Units;
use super::worker::Worker;
use crate::edge::budget::Budget;
use crate::edge::cycle::SharedClock;
use crate::edge::error::Failure;
use crate::edge::meter::StageMeter;
use crate::edge::port::{EdgePlan, Ender, OutputPlan, Producer};
use crate::edge::trace::Recorder;
use crate::graph::{ResolvedEdge, ResolvedGraph, ResolvedStage};
use crate::stage::component::{Registry, StageContext};
use crate::stage::context::Results;
use crate::stage::key::KeyKind;
use crate::stage::ports::Wiring;

/// The key by which a stage is given more threads.
const WORKERS: &str = "workers";

/// Builds the parts of a pipeline.
pub(super) struct Builder<'a> {
    pub(super) graph: &'a ResolvedGraph,
    pub(super) registry: &'a Registry,
    pub(super) options: &'a RunOptions,
    pub(super) results: &'a Arc<Results>,
    /// The account of queued bytes, where the graph has a cap on them.
    pub(super) budget: Option<&'a Arc<Budget>>,
}

/// The channels of a graph: their ends by stage, and the readings of its edges.
pub(super) struct Wired {
    pub(super) stages: Vec<WiredStage>,
    pub(super) edges: Vec<EdgeMonitor>,
    pub(super) probes: Vec<OutputProbe>,
    pub(super) units: UnitClocks,
}

/// What is ready of a stage before the stage itself is built.
pub(super) struct WiredStage {
    meter: Arc<StageMeter>,
    wiring: Wiring,
    enders: Vec<Box<dyn Ender>>,
    keepers: Vec<Box<dyn Any + Send>>,
}

impl Builder<'_> {
    /// Makes the channels of every edge, in the order of the stages that send into them.
    pub(super) fn wire(&self) -> Wired {
        let units = self.units();
        let unwired = |unit: &usize| WiredStage {
            meter: Arc::new(StageMeter::within(units.clocks[*unit].clone(), self.recorder())),
            wiring: Wiring::new(),
            enders: Vec::new(),
            keepers: Vec::new(),
        };
        let mut wired = Wired {
            stages: units.units.of_stage.iter().map(unwired).collect(),
            edges: Vec::with_capacity(self.graph.edges.len()),
            probes: Vec::new(),
            units,
        };
        for (index, stage) in self.graph.stages.iter().enumerate() {
            let edges_out = self.graph.edges.iter().filter(|edge| edge.from.0 == index).count();
            let meter = wired.stages[index].meter.clone();
            let producer = Producer::new(meter, self.options.stop.clone(), edges_out);
            for output in 0..stage.ports.outputs.len() {
                self.wire_output((index, output), &producer, &mut wired);
            }
        }
        wired
    }

    /// A recorder for a stage, if the run is traced.
    fn recorder(&self) -> Option<Recorder> {
        let limits = self.options.trace?.shared_by(self.graph.stages.len(), self.graph.edges.len());
        Some(Recorder::new(limits))
    }

    /// The units of the graph. Those of several stages get a clock, which the meters of these stages share.
    fn units(&self) -> UnitClocks {
        let units = Units::of_graph(self.graph);
        let clocks = units.stages.iter().map(|unit| (unit.len() > 1).then(|| Arc::new(SharedClock::new())));
        UnitClocks { clocks: clocks.collect(), units }
    }

    /// Makes the channels of one output port, given by the indices of its stage and of the port.
    fn wire_output(&self, from: (usize, usize), producer: &Producer, wired: &mut Wired) {
        let port = &self.graph.stages[from.0].ports.outputs[from.1];
        let edges: Vec<&ResolvedEdge> = self.graph.edges.iter().filter(|edge| edge.from == from).collect();
        let plans = edges.iter().map(|edge| EdgePlan {
            limits: edge.limits,
            input: self.graph.stages[edge.to.0].ports.inputs[edge.to.1].name,
            consumer: wired.stages[edge.to.0].meter.clone(),
        });
        let connection = (port.connect)(&OutputPlan {
            name: port.name,
            delayed: port.delayed,
            edges: plans.collect(),
            producer,
            budget: self.budget,
        });
        wired.probes.push(OutputProbe {
            stage: from.0,
            output: port.name,
            payload: port.payload.clone(),
            point: connection.probe,
        });
        let sender = &mut wired.stages[from.0];
        sender.wiring.outputs.insert(port.name, connection.output);
        sender.enders.push(connection.ender);
        for (edge, ends) in edges.into_iter().zip(connection.edges) {
            let input = &self.graph.stages[edge.to.0].ports.inputs[edge.to.1];
            let receiver = &mut wired.stages[edge.to.0];
            receiver.wiring.inputs.insert(input.name, ends.input);
            receiver.keepers.push(ends.keeper);
            wired.edges.push(EdgeMonitor::new(self.graph, edge, ends.gauge, ends.waits));
        }
    }

    /// Builds every stage on its channels, in the order of the graph.
    ///
    /// # Errors
    /// The first stage that cannot be built.
    pub(super) fn build_stages(&self, wired: Vec<WiredStage>) -> Result<Vec<Worker>, RunError> {
        let graph_name: Arc<str> = Arc::from(self.graph.name.as_str());
        let stages = self.graph.stages.iter().zip(wired);
        let workers = stages.map(|(stage, wired)| {
            self.build_stage(stage, wired, &graph_name)
                .map_err(|failure| RunError { stage: stage.name.clone(), failure })
        });
        workers.collect()
    }

    fn build_stage(
        &self,
        stage: &ResolvedStage,
        wired: WiredStage,
        graph_name: &Arc<str>,
    ) -> Result<Worker, Failure> {
        let WiredStage { meter, mut wiring, enders, keepers } = wired;
        let component = self
            .registry
            .get(&stage.type_name)
            .ok_or_else(|| Failure::config(format!("unknown stage type `{}`", stage.type_name)))?;
        let context = self.context(stage, &meter, graph_name);
        let built =
            catch_unwind(AssertUnwindSafe(|| component.build(&stage.settings, &mut wiring, &context)));
        let built = built.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))?;
        Ok(Worker { name: stage.name.clone(), stage: built, enders, keepers, meter })
    }

    fn context(&self, stage: &ResolvedStage, meter: &Arc<StageMeter>, graph_name: &Arc<str>) -> StageContext {
        StageContext {
            stage: Arc::from(stage.name.as_str()),
            graph: graph_name.clone(),
            seed: self.graph.seed,
            rank: self.options.rank,
            ranks: self.options.ranks,
            registry: self.registry.clone(),
            resolved_graph: self.options.resolved_text.clone(),
            run_dir: self.options.run_dir.clone(),
            stop: self.options.stop.clone(),
            meter: meter.clone(),
            resources: self.options.resources.clone(),
            results: self.results.clone(),
            observer: self.options.observer.clone(),
        }
    }

    /// The monitor of stages and edges that are wired.
    pub(super) fn monitor(
        &self,
        wired: &[WiredStage],
        edges: Vec<EdgeMonitor>,
        probes: Vec<OutputProbe>,
        units: UnitClocks,
    ) -> Monitor {
        let stages = self.graph.stages.iter().zip(wired).map(|(stage, wired)| StageMonitor {
            name: stage.name.clone(),
            type_name: stage.type_name.clone(),
            workers: stage.settings.integer(WORKERS).max(1),
            most_workers: self.most_workers(stage),
            meter: wired.meter.clone(),
        });
        Monitor::new(Parts {
            graph: self.graph.name.clone(),
            stages: stages.collect(),
            edges,
            probes,
            units,
            memory: self.budget.cloned(),
            results: self.results.clone(),
            earlier: self.options.earlier.clone(),
        })
    }

    /// The highest value of the key `workers` of a stage's type, if it has such a key.
    fn most_workers(&self, stage: &ResolvedStage) -> Option<u64> {
        let keys = self.registry.get(&stage.type_name)?.keys();
        match keys.into_iter().find(|key| key.name == WORKERS)?.kind {
            KeyKind::Integer(range) => u64::try_from(*range.end()).ok(),
            _ => None,
        }
    }
}
