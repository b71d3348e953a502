//! The sampler: a thread that looks at a run twenty times a second. It takes readings for the meters and drives the
//! watchdog.
//!
//! Law: the sampler never touches what the stages exchange. It only ends a run that has stalled, as a failing stage
//! would, and a run that is to end and whose last threads hang.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::monitor::Monitor;
use super::outcome::{FirstError, RunError, record};
use super::stall::Stall;
use super::watchdog::{DEADLOCK, Tick, Watchdog};
use crate::edge::error::{ErrorKind, Failure};
use crate::edge::meter::StageMeter;
use crate::edge::stop::StopToken;
use crate::stage::context::{Level, Observer};

/// The time between two samples of the edge depths.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// The number of samples from one publication of the metrics to the next.
const PUBLISH_EVERY: u64 = 4;

/// The bounds of the time that the threads of a stalled run have to end. Within them, they have as long as the timeout.
const GRACE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The time for which nothing may move in a run that is to end and has written its results. After it, the threads that
/// hang are left behind.
const ENDING: Duration = Duration::from_secs(2);

/// The sampler of a run, which also watches over it.
pub(crate) struct Sampler {
    pub(crate) monitor: Monitor,
    pub(crate) watchdog: Watchdog,
    pub(crate) timeout: Duration,
    pub(crate) inside: Option<Arc<StageMeter>>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) stop: StopToken,
    pub(crate) errors: FirstError,
    /// Tells the run that threads may hang, and how long they have left to end.
    pub(crate) stalls: Sender<Duration>,
    /// The time that threads have to end when the run is stopped.
    pub(crate) patience: Option<Duration>,
}

impl Sampler {
    /// Samples until `done` disconnects.
    pub(crate) fn run(mut self, done: &Receiver<()>) {
        let mut publishes = true;
        let mut samples = 0_u64;
        while done.recv_timeout(SAMPLE_EVERY).is_err_and(|e| e.is_timeout()) {
            self.watch();
            // A recorder that panics is not called again. The watchdog continues.
            let publish = publishes && samples.is_multiple_of(PUBLISH_EVERY);
            publishes &= catch_unwind(AssertUnwindSafe(|| self.monitor.sample(publish))).is_ok();
            samples += 1;
        }
    }

    fn watch(&mut self) {
        let found = self.watchdog.tick(self.monitor.moves(), || self.monitor.all_wait());
        let is_ending = self.stop.is_tripped() || self.stop.finish_requested();
        if is_ending && self.watchdog.is_idle_for(ENDING, SAMPLE_EVERY) && self.monitor.sinks_are_done() {
            // A source that hangs in the system, for example, has nobody left to read for.
            self.stop.trip();
            let _ = self.stalls.try_send(GRACE.0);
        }
        if let Some(patience) = self.patience.filter(|_| self.stop.is_tripped()) {
            // The channel holds one message, and the first is the one that counts.
            let _ = self.stalls.try_send(patience);
        }
        if let Some(outer) = &self.inside
            && (found == Tick::Moved || self.watchdog.still_watches())
        {
            // This watchdog reports a halt of this run, because it knows more about it than the outer one.
            outer.touch();
        }
        if found != Tick::Stalled {
            return;
        }
        let all_wait = self.monitor.all_wait();
        let timeout = if all_wait { self.timeout.min(DEADLOCK) } else { self.timeout };
        let stall = Stall::of(&self.monitor, timeout);
        self.observer.message(Level::Warning, "", &stall.report());
        if self.stop.finish_requested() && all_wait {
            // An end was asked for, and nothing can be finished any more.
            self.stop.trip();
        }
        if !self.stop.is_tripped() {
            let mut busy = stall.busy();
            let stage = match (busy.next(), busy.next()) {
                (Some(only), None) => only.to_owned(),
                _ => String::new(),
            };
            drop(busy);
            let failure = Failure::new(ErrorKind::Stalled, stall);
            record(&self.errors, RunError { stage, failure }, &self.stop);
        }
        let _ = self.stalls.try_send(timeout.clamp(GRACE.0, GRACE.1));
    }
}
