//! The memory of a run at its peak, by part, and the parameters of its model.

use std::collections::BTreeMap;

use framewise_pipeline::edge::channel::EdgeLimits;
use framewise_pipeline::engine::history_bytes;
use framewise_pipeline::engine::units::Units;
use framewise_pipeline::graph::{GraphEstimate, ResolvedGraph};
use framewise_pipeline::{Dim, Flow, PayloadType};
use serde::Serialize;

/// The parameters of a model, by layer.
#[derive(Debug, Serialize)]
pub(super) struct Parameters {
    pub(super) total: u64,
    pub(super) layers: Vec<Layer>,
}

/// The parameters of a layer, which are the tensors whose names begin with its name.
#[derive(Debug, Serialize)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) tensors: u64,
    pub(super) parameters: u64,
}

/// The memory of a run at its peak.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    /// The bytes of the process, of all parts that are known.
    pub(super) bytes: u64,
    /// The bytes of the readings that the run keeps of its stages, which `bytes` includes.
    pub(super) readings: u64,
    /// The bytes of each other device, of all parts that are known.
    pub(super) devices: BTreeMap<String, u64>,
    /// The stages, or parts of them, whose bytes are not known.
    pub(super) unknown: Vec<String>,
    pub(super) parts: Vec<StagePart>,
    pub(super) edges: Vec<EdgePart>,
    /// The graphs that stages run, whose bytes count in `bytes`.
    pub(super) inner: Vec<Inner>,
}

/// A part of the memory of a stage.
#[derive(Debug, Serialize)]
pub(super) struct StagePart {
    pub(super) stage: String,
    pub(super) part: String,
    /// `None` if the bytes are not known.
    pub(super) bytes: Option<u64>,
    /// `None` for the memory of the process.
    pub(super) device: Option<String>,
}

/// The memory of the items that wait in an edge.
#[derive(Debug, Serialize)]
pub(super) struct EdgePart {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) capacity: usize,
    /// The payload bytes of an item; `None` if they are not known.
    pub(super) item_bytes: Option<u64>,
    /// The bytes that count in the total.
    pub(super) bytes: Option<u64>,
    pub(super) counted: Counted,
}

/// Where the bytes of an edge are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Counted {
    /// At the edge.
    Here,
    /// At the stages of the loop: one step goes round, and the stages count what it holds.
    InTheLoop,
    /// At another edge of the same port, which holds the same items.
    AtAnotherEdge,
}

/// The memory of a graph that a stage runs.
#[derive(Debug, Serialize)]
pub(super) struct Inner {
    pub(super) stage: String,
    pub(super) graph: String,
    pub(super) memory: Memory,
}

impl Parameters {
    pub(super) fn of(estimate: &GraphEstimate) -> Option<Self> {
        let ports = estimate.graph.stages.iter().flat_map(|stage| &stage.ports.outputs);
        let weights = ports.map(|port| &port.payload).find(|payload| is_weights(payload))?;
        let mut layers: Vec<Layer> = Vec::new();
        for tensor in &weights.tensors {
            let name = tensor.name.rsplit_once('.').map_or(tensor.name.as_str(), |(layer, _)| layer);
            let sizes = tensor.dims.iter().map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 });
            let parameters = sizes.fold(1, u64::saturating_mul);
            match layers.iter_mut().find(|layer| layer.name == name) {
                Some(layer) => {
                    layer.tensors += 1;
                    layer.parameters += parameters;
                }
                None => layers.push(Layer { name: name.to_owned(), tensors: 1, parameters }),
            }
        }
        Some(Self { total: layers.iter().map(|layer| layer.parameters).sum(), layers })
    }
}

/// Whether a payload is the weights of a model whose tensors are known.
fn is_weights(payload: &PayloadType) -> bool {
    payload.name == "weights" && !payload.tensors.is_empty()
}

impl Memory {
    pub(super) fn of(estimate: &GraphEstimate) -> Self {
        let graph = &estimate.graph;
        let mut parts = Vec::new();
        let mut unknown = Vec::new();
        for (stage, told) in graph.stages.iter().zip(&estimate.stages) {
            let Some(told) = told else {
                unknown.push(format!("stage `{}`", stage.name));
                continue;
            };
            for part in &told.memory {
                if part.bytes.is_none() {
                    unknown.push(format!("{} of stage `{}`", part.name, stage.name));
                }
                parts.push(StagePart {
                    stage: stage.name.clone(),
                    part: part.name.clone(),
                    bytes: part.bytes,
                    device: part.device.clone(),
                });
            }
        }
        let edges = edges(estimate);
        let unknown_edges = edges.iter().filter(|edge| edge.bytes.is_none());
        unknown.extend(unknown_edges.map(|edge| format!("the edge from `{}` to `{}`", edge.from, edge.to)));
        let inner = estimate.inner.iter().map(|(stage, inner)| Inner {
            stage: graph.stages[*stage].name.clone(),
            graph: inner.graph.name.clone(),
            memory: Memory::of(inner),
        });
        let inner: Vec<_> = inner.collect();
        let queued = edges.iter().filter_map(|edge| edge.bytes).fold(0, u64::saturating_add);
        let queued = graph.memory.map_or(queued, |cap| queued.min(cap as u64));
        let own = parts.iter().filter(|part| part.device.is_none()).filter_map(|part| part.bytes);
        let readings = history_bytes(graph);
        let of_inner = inner.iter().map(|inner| inner.memory.bytes);
        let bytes = own.chain(of_inner).fold(queued.saturating_add(readings), u64::saturating_add);
        let mut devices = BTreeMap::new();
        for part in &parts {
            if let (Some(device), Some(bytes)) = (&part.device, part.bytes) {
                *devices.entry(device.clone()).or_insert(0) += bytes;
            }
        }
        unknown.extend(
            inner.iter().flat_map(|i| i.memory.unknown.iter().map(|what| format!("{what} of `{}`", i.graph))),
        );
        Self { bytes, readings, devices, unknown, parts, edges, inner }
    }
}

/// What waits in each edge at most.
fn edges(estimate: &GraphEstimate) -> Vec<EdgePart> {
    let graph = &estimate.graph;
    let units = Units::of_graph(graph);
    let flows = || graph.edges.iter().zip(&estimate.flows);
    let parts = flows().enumerate().map(|(index, (edge, flow))| {
        let in_a_loop = units.of_stage[edge.from.0] == units.of_stage[edge.to.0];
        let bytes = waiting(edge.limits, flow);
        // The edges of one port hold the same items, so the one with the most room counts, the first of several.
        let is_more =
            |other: usize, bytes_of: Option<u64>| bytes_of > bytes || bytes_of == bytes && other < index;
        let twins = flows().enumerate().filter(|(_, (other, _))| other.from == edge.from);
        let mut twins =
            twins.filter(|(_, (other, _))| units.of_stage[other.from.0] != units.of_stage[other.to.0]);
        let is_elsewhere = twins.any(|(other, (edge, flow))| is_more(other, waiting(edge.limits, flow)));
        let (counted, bytes) = match () {
            () if in_a_loop => (Counted::InTheLoop, Some(0)),
            () if is_elsewhere => (Counted::AtAnotherEdge, Some(0)),
            () => (Counted::Here, bytes),
        };
        EdgePart {
            from: port(graph, edge.from, true),
            to: port(graph, edge.to, false),
            capacity: edge.limits.items,
            item_bytes: flow.bytes,
            bytes,
            counted,
        }
    });
    parts.collect()
}

/// The most bytes that wait in an edge, without an item that its producer counts.
fn waiting(limits: EdgeLimits, flow: &Flow) -> Option<u64> {
    let item = flow.bytes?;
    let items = (limits.items as u64).min(flow.total().unwrap_or(u64::MAX));
    // An item larger than the bound passes alone.
    let bytes = items.saturating_mul(item).min((limits.bytes as u64).max(item));
    Some(if flow.newest_is_held { bytes.saturating_sub(item) } else { bytes })
}

/// The name of a port in text, without the port where the stage has only one on that side.
fn port(graph: &ResolvedGraph, (stage, port): (usize, usize), is_output: bool) -> String {
    let of = &graph.stages[stage];
    let name = if is_output { of.ports.outputs[port].name } else { of.ports.inputs[port].name };
    let count = if is_output { of.ports.outputs.len() } else { of.ports.inputs.len() };
    if count == 1 { of.name.clone() } else { format!("{}.{name}", of.name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::planted;

    #[test]
    fn a_stage_that_tells_nothing_is_not_known_and_edges_hold_their_capacity() {
        let loaded = planted::graph(&planted::chain(1000, [0, 0, 0], 1, 8));
        let memory = Memory::of(&loaded.estimate(&planted::registry()));
        assert_eq!(memory.unknown, ["stage `out`"]);
        let edges: Vec<_> = memory.edges.iter().map(|edge| (edge.capacity, edge.bytes)).collect();
        assert_eq!(edges, [(8, Some(8000)), (4, Some(4000))]);
        assert_eq!(memory.bytes, memory.readings + 1000 + 8000 + 4000);
    }

    #[test]
    fn what_waits_is_bounded_by_the_items_there_are_the_bytes_of_the_edge_and_the_cap_of_the_graph() {
        let limits = |items, bytes| EdgeLimits { items, bytes };
        let flow = Flow { items: Some(3), epochs: Some(1), bytes: Some(100), ..Flow::default() };
        assert_eq!(waiting(limits(2, 1000), &flow), Some(200));
        assert_eq!(waiting(limits(8, 1000), &flow), Some(300));
        assert_eq!(waiting(limits(8, 150), &flow), Some(150));
        assert_eq!(waiting(limits(8, 50), &flow), Some(100));
        assert_eq!(waiting(limits(2, 1000), &Flow { newest_is_held: true, ..flow }), Some(100));
        assert_eq!(waiting(limits(2, 1000), &flow.of_bytes(None)), None);
        let capped =
            planted::chain(1000, [0, 0, 0], 1, 8).replace("seed = 1", "seed = 1\nmemory = \"2000B\"");
        let memory = Memory::of(&planted::graph(&capped).estimate(&planted::registry()));
        assert_eq!(memory.bytes, memory.readings + 1000 + 2000);
    }
}
