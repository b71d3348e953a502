//! What a run of a graph will need, in the form of `--format json`.

use framewise_pipeline::graph::GraphEstimate;
use serde::Serialize;

use super::calibrate::Calibration;
use super::memory::{Memory, Parameters};
use super::taken::Taken;
use super::work::{Checkpoints, Work};

/// What a run of a graph will need.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    pub(super) graph: String,
    /// `None` for a graph without a model.
    pub(super) parameters: Option<Parameters>,
    pub(super) memory: Memory,
    /// `None` for a graph that does its work on one device.
    pub(super) taken: Option<Taken>,
    pub(super) work: Work,
    /// `None` for a graph that writes no checkpoints.
    pub(super) checkpoints: Option<Checkpoints>,
    /// `None` without `--calibrate`.
    pub(super) calibration: Option<Calibration>,
}

impl Plan {
    pub(super) fn of(estimate: &GraphEstimate) -> Self {
        Self {
            graph: estimate.graph.name.clone(),
            parameters: Parameters::of(estimate),
            memory: Memory::of(estimate),
            taken: Taken::of(estimate),
            work: Work::of(estimate),
            checkpoints: Checkpoints::of(estimate),
            calibration: None,
        }
    }
}
