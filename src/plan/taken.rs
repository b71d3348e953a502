//! What devices take from each other in every step of a run.

use framewise_pipeline::graph::GraphEstimate;
use serde::Serialize;

/// What devices take from each other in a step.
#[derive(Debug, Serialize)]
pub(super) struct Taken {
    /// The bytes of all parts.
    pub(super) bytes_per_step: u64,
    /// Whether CPU devices are among those that take something. What these take, they read where it lies.
    pub(super) in_shared_memory: bool,
    pub(super) parts: Vec<TakenPart>,
}

/// What one device takes from the others for one stage.
#[derive(Debug, Serialize)]
pub(super) struct TakenPart {
    pub(super) stage: String,
    pub(super) part: String,
    pub(super) device: String,
    pub(super) bytes: u64,
}

impl Taken {
    /// `None` for a graph whose devices take nothing from each other.
    pub(super) fn of(estimate: &GraphEstimate) -> Option<Self> {
        let stages = estimate.graph.stages.iter().zip(&estimate.stages);
        let parts = stages.flat_map(|(stage, told)| {
            let taken = told.iter().flat_map(|told| &told.taken);
            taken.map(|taken| TakenPart {
                stage: stage.name.clone(),
                part: taken.name.clone(),
                device: taken.device.clone(),
                bytes: taken.bytes,
            })
        });
        let parts: Vec<_> = parts.collect();
        let bytes_per_step = parts.iter().map(|part| part.bytes).sum();
        let in_shared_memory = parts.iter().any(|part| part.device.ends_with("(cpu)"));
        (!parts.is_empty()).then_some(Self { bytes_per_step, in_shared_memory, parts })
    }
}
