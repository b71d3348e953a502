//! What the stages of a graph need and send, put together along its edges.

use super::load::load_inner;
use super::loaded::Loaded;
use super::resolve::upstream::before;
use super::resolved::{ResolvedEdge, ResolvedGraph};
use crate::stage::component::{CheckContext, Registry, Site};
use crate::stage::estimate::{Estimate, Flow, Flows};
use crate::stage::survey::InnerGraph;

/// What the stages of a graph need and send.
#[derive(Debug, Clone)]
pub struct GraphEstimate {
    /// The graph.
    pub graph: ResolvedGraph,
    /// What each stage needs, in the order of the graph. `None` for a stage that does not tell.
    pub stages: Vec<Option<Estimate>>,
    /// What passes each edge, in the order of the graph's edges.
    pub flows: Vec<Flow>,
    /// The graphs that stages run, each with the index of its stage.
    pub inner: Vec<(usize, GraphEstimate)>,
}

impl InnerGraph {
    /// The graph with its changes, as the stage runs it. `None` for a graph with mistakes, which were reported when the
    /// outer graph was checked.
    pub(super) fn load(&self, registry: &Registry) -> Option<Loaded> {
        load_inner(&self.path, registry, &self.overrides()).ok()
    }
}

impl Loaded {
    /// Asks every stage what it needs and sends, each after the stages from which its items come. Nothing is written.
    pub fn estimate(&self, registry: &Registry) -> GraphEstimate {
        let graph = &self.graph;
        let mut check = CheckContext::new(registry);
        check.is_inner = self.sources.is_inner;
        let mut all = GraphEstimate {
            graph: graph.clone(),
            stages: vec![None; graph.stages.len()],
            flows: vec![Flow::default(); graph.edges.len()],
            inner: Vec::new(),
        };
        for index in in_order_of_data(graph) {
            let stage = &graph.stages[index];
            let Some(component) = registry.get(&stage.type_name) else { continue };
            let upstream = before(graph, index);
            let site = Site { settings: &stage.settings, upstream: &upstream, check, resumes: false };
            all.stages[index] = component.estimate(&site, &all.reaching(index));
            all.pass_on(index);
        }
        all.inner =
            self.inner(registry).iter().map(|(stage, inner)| (*stage, inner.estimate(registry))).collect();
        all
    }

    /// The graphs that the stages run, each with the index of its stage. A graph that is itself run by a stage runs none.
    pub fn inner(&self, registry: &Registry) -> Vec<(usize, Loaded)> {
        let mut all = Vec::new();
        if self.sources.is_inner {
            return all;
        }
        let check = CheckContext::new(registry);
        for (index, stage) in self.graph.stages.iter().enumerate() {
            let Some(component) = registry.get(&stage.type_name) else { continue };
            let upstream = before(&self.graph, index);
            let site = Site { settings: &stage.settings, upstream: &upstream, check, resumes: false };
            let graphs = component.survey(&site).graphs.into_iter();
            all.extend(graphs.filter_map(|inner| Some((index, inner.load(registry)?))));
        }
        all
    }
}

impl GraphEstimate {
    /// The flows that reach a stage.
    fn reaching(&self, stage: usize) -> Flows {
        let inputs = &self.graph.stages[stage].ports.inputs;
        let edges = self.graph.edges.iter().zip(&self.flows);
        let into = edges.filter(|(edge, _)| edge.to.0 == stage);
        Flows::new(into.map(|(edge, flow)| (inputs[edge.to.1].name, *flow)).collect())
    }

    /// Notes what a stage sends at the edges that leave it.
    fn pass_on(&mut self, stage: usize) {
        let Some(estimate) = &self.stages[stage] else { return };
        for (edge, flow) in self.graph.edges.iter().zip(&mut self.flows) {
            if edge.from.0 == stage {
                let port = self.graph.stages[stage].ports.outputs[edge.from.1].name;
                let sent = estimate.flows.iter().find(|(name, _)| *name == port);
                *flow = sent.map_or_else(Flow::default, |(_, flow)| *flow);
            }
        }
    }
}

/// The stages, each behind those from which its items come over edges that are not delayed.
fn in_order_of_data(graph: &ResolvedGraph) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(graph.stages.len());
    while order.len() < graph.stages.len() {
        let is_ready = |stage: &usize| {
            let from_a_later_one =
                |edge: &ResolvedEdge| edge.to.0 == *stage && !edge.delayed && !order.contains(&edge.from.0);
            !order.contains(stage) && !graph.edges.iter().any(from_a_later_one)
        };
        // A graph that passed its check has a delayed edge in every cycle, so there is always a next stage.
        match (0..graph.stages.len()).find(is_ready) {
            Some(next) => order.push(next),
            None => break,
        }
    }
    order
}
