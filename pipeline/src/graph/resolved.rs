//! A graph after every check has passed: what the engine runs, `render` prints and `graph` draws.

use std::time::Duration;

use crate::channel::EdgeLimits;
use crate::component::{Ports, Settings};
use crate::payload::PayloadType;

/// A checked graph. Stages stand in the order of the file, edges in the order of their consumers' ports.
#[derive(Debug, Clone)]
pub struct ResolvedGraph {
    /// The graph's name: `[graph] name`, else the file's stem.
    pub name: String,
    /// The seed; `seed_given` says whether it was written down or drawn fresh.
    pub seed: u64,
    /// Whether the graph or `--set` names the seed.
    pub seed_given: bool,
    /// How long nothing may move before the run is ended; `None` waits for ever.
    pub stall_timeout: Option<Duration>,
    /// The cap on the payload bytes queued on all edges together.
    pub memory: Option<usize>,
    /// The stages.
    pub stages: Vec<ResolvedStage>,
    /// The edges.
    pub edges: Vec<ResolvedEdge>,
}

/// A stage with its final settings.
#[derive(Debug, Clone)]
pub struct ResolvedStage {
    /// The name in the graph.
    pub name: String,
    /// The type's name in the registry.
    pub type_name: String,
    /// Settings with precedence applied.
    pub settings: Settings,
    /// Ports for these settings; outputs carry their full payload types.
    pub ports: Ports,
}

/// An edge between two ports.
#[derive(Debug, Clone)]
pub struct ResolvedEdge {
    /// Producer: index into `stages`, index into its `ports.outputs`.
    pub from: (usize, usize),
    /// Consumer: index into `stages`, index into its `ports.inputs`.
    pub to: (usize, usize),
    /// The channel's bounds.
    pub limits: EdgeLimits,
    /// What travels.
    pub payload: PayloadType,
    /// Whether the producer's port is delayed.
    pub delayed: bool,
}
