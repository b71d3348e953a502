//! The stop token: one trip wakes every blocking call of a run.
//!
//! Law: after [`StopToken::trip`] no port operation blocks; each returns [`crate::StageError::Stopped`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};

/// Shared by all stages of a run. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct StopToken {
    shared: Arc<Shared>,
    /// Nothing is ever sent: the channel disconnects when the token trips, which wakes every `select`.
    tripped: Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    /// Taken (and so dropped) by the first trip.
    keep_open: Mutex<Option<Sender<()>>>,
    is_tripped: AtomicBool,
    finish_requested: AtomicBool,
}

impl StopToken {
    /// A token that has not tripped.
    pub fn new() -> Self {
        let (sender, tripped) = crossbeam_channel::bounded(0);
        let shared = Shared {
            keep_open: Mutex::new(Some(sender)),
            is_tripped: AtomicBool::new(false),
            finish_requested: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared), tripped }
    }

    /// Stops the run at once. Returns whether this call was the first.
    pub fn trip(&self) -> bool {
        // The flag is set before the wake-up, so that a woken thread sees it.
        let first = !self.shared.is_tripped.swap(true, Ordering::SeqCst);
        drop(self.shared.keep_open.lock().unwrap_or_else(PoisonError::into_inner).take());
        first
    }

    /// Whether the run is being stopped.
    pub fn is_tripped(&self) -> bool {
        self.shared.is_tripped.load(Ordering::SeqCst)
    }

    /// Asks the stages that set the pace (training forward) to end after the step in hand, as if the input
    /// had ended there. The first Ctrl-C does this in a graph that trains.
    pub fn request_finish(&self) {
        self.shared.finish_requested.store(true, Ordering::SeqCst);
    }

    /// Whether [`StopToken::request_finish`] was called.
    pub fn finish_requested(&self) -> bool {
        self.shared.finish_requested.load(Ordering::SeqCst)
    }

    /// Becomes ready (disconnected) when the token trips; for use in `select!`.
    pub(crate) fn wake(&self) -> &Receiver<()> {
        &self.tripped
    }
}

impl Default for StopToken {
    fn default() -> Self {
        Self::new()
    }
}
