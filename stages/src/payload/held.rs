//! A training state in the hands of a stage that needs it only if no newer one comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lease::Lease;
use super::measured::Measured;
use super::training::TrainState;

/// A state, whole, or let go of so that the optimizer may write the next state into its memory.
pub(crate) enum Held {
    /// The state. Nobody shows a newer one.
    Whole(TrainState),
    /// What the state does not share with the one that its maker shows.
    LetGo {
        lease: Lease<TrainState>,
        step: u64,
        restored: bool,
        metrics: Option<BTreeMap<String, f64>>,
        measured: Option<Arc<Measured>>,
    },
}

impl From<TrainState> for Held {
    fn from(state: TrainState) -> Self {
        match state.lease.clone() {
            None => Self::Whole(state),
            Some(lease) => Self::LetGo {
                lease,
                step: state.step,
                restored: state.restored,
                metrics: state.metrics,
                measured: state.measured,
            },
        }
    }
}

impl Held {
    /// The state that was held, or a newer one if its memory was used again. `None` if its maker failed while it wrote the
    /// newer one.
    pub(crate) fn recall(&self) -> Option<TrainState> {
        match self {
            Self::Whole(state) => Some(state.clone()),
            Self::LetGo { lease, step, restored, metrics, measured } => {
                let found = lease.find()?;
                if found.step == *step {
                    let (metrics, measured) = (metrics.clone(), measured.clone());
                    return Some(TrainState { restored: *restored, metrics, measured, ..found });
                }
                // Where its maker does not measure, the last measurement is that of the older state.
                Some(TrainState { measured: found.measured.or_else(|| measured.clone()), ..found })
            }
        }
    }

    /// The number of steps done when the state was held.
    pub(crate) fn step(&self) -> u64 {
        match self {
            Self::Whole(state) => state.step,
            Self::LetGo { step, .. } => *step,
        }
    }
}
