//! The resolved graph: a graph that has passed every check. The engine runs it, `render` prints it and `graph` draws
//! it.

use std::time::Duration;

use crate::edge::channel::EdgeLimits;
use crate::edge::payload::PayloadType;
use crate::stage::ports::Ports;
use crate::stage::settings::Settings;

/// The time for which nothing may move in a graph that does not set `stall_timeout`. A full-size step takes up to a
/// minute on a few cores.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(600);

/// A checked graph. Stages stand in the order of the file, and edges in the order of their consumers' ports.
#[derive(Debug, Clone)]
pub struct ResolvedGraph {
    /// The graph's name: `name` of `[graph]`, or otherwise the stem of the file.
    pub name: String,
    /// The seed. `seed_given` says whether it was written down or drawn fresh.
    pub seed: u64,
    /// Whether the graph or `--set` names the seed.
    pub seed_given: bool,
    /// The time for which nothing may move before the run is ended. `None` waits for ever.
    pub stall_timeout: Option<Duration>,
    /// The cap on the payload bytes that are queued on all edges together. `None` sets no cap.
    pub memory: Option<usize>,
    /// The stages.
    pub stages: Vec<ResolvedStage>,
    /// The edges.
    pub edges: Vec<ResolvedEdge>,
}

/// A stage with its final settings.
#[derive(Debug, Clone)]
pub struct ResolvedStage {
    /// The stage's name in the graph.
    pub name: String,
    /// The type's name in the registry.
    pub type_name: String,
    /// The settings, with precedence applied.
    pub settings: Settings,
    /// The ports for these settings. Outputs have their full payload types.
    pub ports: Ports,
}

/// An edge between two ports.
#[derive(Debug, Clone)]
pub struct ResolvedEdge {
    /// The producer: its index in `stages`, and the index of the port in its `ports.outputs`.
    pub from: (usize, usize),
    /// The consumer: its index in `stages`, and the index of the port in its `ports.inputs`.
    pub to: (usize, usize),
    /// The channel's bounds.
    pub limits: EdgeLimits,
    /// The payload that travels on the edge.
    pub payload: PayloadType,
    /// Whether the producer's port is delayed.
    pub delayed: bool,
}
