//! The clock of a cycle of stages, which work in turn.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::edge::activity::Activity;

/// The clock of the stages on one cycle, which work in turn: the time in which any of them was busy.
#[derive(Debug)]
pub(crate) struct SharedClock(Mutex<SharedTime>);

/// The state of a [`SharedClock`].
#[derive(Debug)]
pub(crate) struct SharedTime {
    /// The number of stages of the cycle that are busy.
    busy_stages: usize,
    since: Instant,
    busy: Duration,
}

impl SharedClock {
    /// A clock of stages of which none is busy.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(SharedTime { busy_stages: 0, since: Instant::now(), busy: Duration::ZERO }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, SharedTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedTime {
    /// Seconds in which at least one stage was busy, up to `now`.
    pub(crate) fn busy(&mut self, now: Instant) -> f64 {
        self.advance(now);
        self.busy.as_secs_f64()
    }

    fn advance(&mut self, now: Instant) {
        // Two stages take their times under locks of their own, so the times may come out of order.
        let elapsed = now.saturating_duration_since(self.since);
        self.since = self.since.max(now);
        if self.busy_stages > 0 {
            self.busy += elapsed;
        }
    }

    /// Notes that a stage of the cycle goes from one activity to the next.
    pub(crate) fn switch(&mut self, before: Activity, next: Activity, now: Instant) {
        self.advance(now);
        let busy = |activity| usize::from(activity == Activity::Busy);
        self.busy_stages = self.busy_stages + busy(next) - busy(before);
    }
}
