//! What a diagnosis is made from.

use std::sync::Arc;

use super::super::reading::Reading;
use super::super::units::Units;

/// What a diagnosis is made from.
pub(crate) struct Facts<'a> {
    pub(crate) stages: Vec<StageFacts<'a>>,
    pub(crate) edges: Vec<EdgeFacts>,
    pub(crate) units: &'a Units,
    /// Earlier readings of the run, in the order of time.
    pub(crate) history: &'a [Arc<Reading>],
    pub(crate) last: &'a Reading,
    /// The number of cores that the process may use.
    pub(crate) cores: usize,
}

/// What a diagnosis needs to know of a stage, besides its readings.
#[derive(Clone)]
pub(crate) struct StageFacts<'a> {
    pub(crate) name: &'a str,
    pub(crate) workers: u64,
    /// The highest value of the key `workers`; `None` without such a key.
    pub(crate) most_workers: Option<u64>,
}

/// What a diagnosis needs to know of an edge, besides its readings.
#[derive(Clone, Copy)]
pub(crate) struct EdgeFacts {
    pub(crate) from: usize,
    pub(crate) to: usize,
}
