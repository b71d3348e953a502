//! What a run will do: records, steps, epochs, evaluations and checkpoints.

use framewise_pipeline::Flow;
use framewise_pipeline::graph::GraphEstimate;
use serde::Serialize;

/// The payload of what is one step of training or evaluation.
const STEPS: &str = "batches";
/// The bytes of an f32 number with Adam's two moments.
const STATE_BYTES: u64 = 12;

/// What a run will do.
#[derive(Debug, Serialize)]
pub(super) struct Work {
    /// The sources.
    pub(super) sources: Vec<Source>,
    /// The steps of an epoch; `None` if they are not known or the graph has no steps.
    pub(super) steps_per_epoch: Option<u64>,
    /// The steps of the whole run.
    pub(super) steps: Option<u64>,
    /// The evaluations within the run, where that is known.
    pub(super) evaluations: Option<u64>,
}

/// What a source sends.
#[derive(Debug, Serialize)]
pub(super) struct Source {
    pub(super) stage: String,
    /// The name of what it sends, such as `records`.
    pub(super) payload: String,
    /// The items of an epoch.
    pub(super) items_per_epoch: Option<u64>,
    /// Whether they were counted. Otherwise their number follows from the bytes of the files.
    pub(super) exact: bool,
    pub(super) item_bytes: Option<u64>,
    pub(super) epochs: Option<u64>,
}

/// The checkpoints that a run writes.
#[derive(Debug, Serialize)]
pub(super) struct Checkpoints {
    /// The bytes of one.
    pub(super) bytes_each: Option<u64>,
    /// How many are written; `None` if the steps are not known.
    pub(super) written: Option<u64>,
    /// How many are there at the end at most.
    pub(super) kept: Option<u64>,
    /// The bytes of those.
    pub(super) bytes_kept: Option<u64>,
}

impl Work {
    pub(super) fn of(estimate: &GraphEstimate) -> Self {
        let graph = &estimate.graph;
        let is_source = |stage: usize| graph.edges.iter().all(|edge| edge.to.0 != stage);
        // Weights are sent once and are not what a run works through.
        let data = |payload: &str| payload != "weights";
        let edges = || graph.edges.iter().zip(&estimate.flows);
        let mut sources: Vec<Source> = Vec::new();
        for (edge, flow) in edges().filter(|(edge, _)| is_source(edge.from.0) && data(edge.payload.name)) {
            let name = &graph.stages[edge.from.0].name;
            if sources.iter().all(|source| source.stage != *name) {
                sources.push(Source {
                    stage: name.clone(),
                    payload: edge.payload.name.to_owned(),
                    items_per_epoch: flow.items,
                    exact: flow.exact,
                    item_bytes: flow.bytes,
                    epochs: flow.epochs,
                });
            }
        }
        let steps = steps(estimate);
        Self {
            sources,
            steps_per_epoch: steps.and_then(|flow| flow.items),
            steps: steps.and_then(|flow| flow.total()),
            evaluations: count(estimate, "evaluations"),
        }
    }

    /// The records or videos of the whole run, of a graph with one source.
    pub(super) fn items(&self) -> Option<u64> {
        match self.sources.as_slice() {
            [only] => Some(only.items_per_epoch?.saturating_mul(only.epochs?)),
            _ => None,
        }
    }
}

/// The flow of the steps.
pub(super) fn steps(estimate: &GraphEstimate) -> Option<Flow> {
    let mut edges = estimate.graph.edges.iter().zip(&estimate.flows);
    edges.find(|(edge, _)| edge.payload.name == STEPS).map(|(_, flow)| *flow)
}

/// A number that some stage tells.
fn count(estimate: &GraphEstimate, name: &str) -> Option<u64> {
    let counts = estimate.stages.iter().flatten().flat_map(|stage| &stage.counts);
    counts.filter(|(counted, _)| counted == name).map(|(_, number)| *number).next()
}

impl Checkpoints {
    pub(super) fn of(estimate: &GraphEstimate) -> Option<Self> {
        estimate.graph.stages.iter().find(|stage| stage.type_name == "checkpoint")?;
        let bytes_each = count(estimate, "parameters").map(|n| n.saturating_mul(STATE_BYTES));
        let kept = count(estimate, "checkpoints kept at most");
        Some(Self {
            bytes_each,
            written: count(estimate, "checkpoints written"),
            kept,
            bytes_kept: bytes_each.zip(kept).map(|(bytes, kept)| bytes.saturating_mul(kept)),
        })
    }
}
