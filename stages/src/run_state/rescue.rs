//! The wish that the state of training is written although the run has failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use framewise_pipeline::StageContext;

/// A flag that the stages of a run share. A stage that only watches training, such as `report`, sets it before it
/// returns a failure. A `checkpoint` stage that is then stopped first writes the state that it has in hand.
#[derive(Debug, Default)]
pub(crate) struct Rescue {
    wanted: AtomicBool,
}

impl Rescue {
    /// The flag of this run.
    pub(crate) fn of(context: &StageContext) -> Arc<Rescue> {
        context.resources.get_or_insert_with(Rescue::default)
    }

    /// Sets the flag.
    pub(crate) fn ask(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Whether the flag is set.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }
}
