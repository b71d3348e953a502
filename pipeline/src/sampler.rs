//! The thread that looks at a run twenty times a second: readings for the meters, and the watchdog.
//!
//! Law: it never touches what the stages exchange; it only ends a run that has stalled, as a failing stage would.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::context::{Level, Observer};
use crate::engine::{FirstError, RunError, record};
use crate::error::{ErrorKind, Failure};
use crate::meter::StageMeter;
use crate::monitor::Monitor;
use crate::stop::StopToken;
use crate::watchdog::{Stall, Tick, Watchdog};

/// How often edge depths are sampled, and metrics published.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_millis(50);

/// Samples a run for its readings, and watches over it.
pub(crate) struct Sampler {
    pub(crate) monitor: Monitor,
    pub(crate) watchdog: Watchdog,
    pub(crate) timeout: Duration,
    pub(crate) inside: Option<Arc<StageMeter>>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) stop: StopToken,
    pub(crate) errors: FirstError,
    pub(crate) stalls: Sender<()>,
}

impl Sampler {
    /// Ends when `done` disconnects.
    pub(crate) fn run(mut self, done: &Receiver<()>) {
        let mut publishes = true;
        while done.recv_timeout(SAMPLE_EVERY).is_err_and(|e| e.is_timeout()) {
            self.watch();
            // A recorder that panics is not asked again; the watchdog goes on.
            publishes = publishes && catch_unwind(AssertUnwindSafe(|| self.monitor.sample())).is_ok();
        }
    }

    fn watch(&mut self) {
        let found = self.watchdog.tick(self.monitor.moves());
        if let Some(outer) = &self.inside
            && (found == Tick::Moved || self.watchdog.still_watches())
        {
            // A halt in here is told by this watchdog, which knows more of it than the outer one.
            outer.touch();
        }
        if found != Tick::Stalled {
            return;
        }
        let stall = Stall::of(&self.monitor, self.timeout);
        self.observer.message(Level::Warning, "", &stall.report());
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
        let _ = self.stalls.try_send(());
    }
}
