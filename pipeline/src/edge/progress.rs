//! What a stage says about itself while it works: how far it is, and what it does at the moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The progress of a stage. The stage's thread writes it; any thread may read it at any time.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The bits of the share of the work that is done, a NaN where the stage does not say.
    share: AtomicU64,
    task: Mutex<Option<&'static str>>,
}

impl Progress {
    /// The progress of a stage that has said nothing yet.
    pub(crate) fn unknown() -> Self {
        Self { share: AtomicU64::new(f64::NAN.to_bits()), task: Mutex::new(None) }
    }

    /// Sets the share of the work that is done, from 0 to 1. What lies outside is taken as the nearest of the two.
    pub(crate) fn set(&self, share: f64) {
        self.share.store(share.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
    }

    /// The share of the work that is done. `None` where the stage does not say.
    pub(crate) fn share(&self) -> Option<f64> {
        let share = f64::from_bits(self.share.load(Ordering::Relaxed));
        (!share.is_nan()).then_some(share)
    }

    pub(crate) fn task(&self) -> Option<&'static str> {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, task: &'static str) -> Task<'_> {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Task { progress: self }
    }
}

/// A task that a stage does for as long as this value lives.
#[derive(Debug)]
#[must_use = "the task ends when this value is dropped"]
pub struct Task<'m> {
    progress: &'m Progress,
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        *self.progress.task.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_says_nothing_is_not_at_zero() {
        let progress = Progress::unknown();
        assert_eq!((progress.share(), progress.task()), (None, None));
        for (said, kept) in [(0.25, 0.25), (-1.0, 0.0), (1.5, 1.0)] {
            progress.set(said);
            assert_eq!(progress.share(), Some(kept));
        }
        progress.set(f64::NAN);
        assert_eq!(progress.share(), None);
    }

    #[test]
    fn a_task_ends_with_its_value() {
        let progress = Progress::unknown();
        let task = progress.begin("reading");
        assert_eq!(progress.task(), Some("reading"));
        drop(task);
        assert_eq!(progress.task(), None);
    }
}
