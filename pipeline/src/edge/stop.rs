//! The stop token of a run: one trip wakes every blocking call.
//!
//! Laws: after [`StopToken::trip`] no port operation blocks. Each one returns [`crate::StageError::Stopped`]. A token
//! trips its children, and a child never trips its parent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crossbeam_channel::{Receiver, Sender};

use super::error::Failure;

/// A token that all stages of a run share and that stops them. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct StopToken {
    shared: Arc<Shared>,
    /// A channel on which nothing is ever sent. It disconnects when the token trips, which wakes every `select`.
    tripped: Receiver<()>,
    /// A channel that disconnects when an orderly end is asked for.
    finishing: Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    /// The sender of that channel. The first trip takes it and so drops it.
    keep_open: Mutex<Option<Sender<()>>>,
    /// The sender of `finishing`. The first request takes it and so drops it.
    keep_going: Mutex<Option<Sender<()>>>,
    is_tripped: AtomicBool,
    finish_requested: AtomicBool,
    /// The failure of something outside the run, because of which it was stopped.
    failure: Mutex<Option<Failure>>,
    children: Mutex<Vec<Weak<Shared>>>,
}

impl Shared {
    fn trip(&self) -> bool {
        // The flag is set before the wake-up, so that a woken thread sees it.
        let first = !self.is_tripped.swap(true, Ordering::SeqCst);
        drop(self.keep_open.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.for_each_child(|child| _ = child.trip());
        first
    }

    fn request_finish(&self) {
        // As in `trip`, the flag comes before the wake-up.
        self.finish_requested.store(true, Ordering::SeqCst);
        drop(self.keep_going.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.for_each_child(Self::request_finish);
    }

    fn for_each_child(&self, act: impl Fn(&Self)) {
        let children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.iter().filter_map(Weak::upgrade).for_each(|child| act(&child));
    }
}

impl StopToken {
    /// Makes a token that has not tripped.
    pub fn new() -> Self {
        let (sender, tripped) = crossbeam_channel::bounded(0);
        let (going, finishing) = crossbeam_channel::bounded(0);
        let shared = Shared {
            keep_open: Mutex::new(Some(sender)),
            keep_going: Mutex::new(Some(going)),
            is_tripped: AtomicBool::new(false),
            finish_requested: AtomicBool::new(false),
            failure: Mutex::default(),
            children: Mutex::new(Vec::new()),
        };
        Self { shared: Arc::new(shared), tripped, finishing }
    }

    /// Makes a token for a run inside this run. It trips, and is asked for an orderly end, together with this token. When
    /// the child alone trips, for example because the inner run fails, the outer run continues.
    pub fn child(&self) -> Self {
        let child = Self::new();
        {
            let mut children = self.shared.children.lock().unwrap_or_else(PoisonError::into_inner);
            children.retain(|child| child.strong_count() > 0);
            children.push(Arc::downgrade(&child.shared));
        }
        // The flags are read after the child was added, so that no trip is missed between the two.
        if self.finish_requested() {
            child.request_finish();
        }
        if self.is_tripped() {
            child.trip();
        }
        child
    }

    /// Stops the run at once. Returns whether this call was the first.
    pub fn trip(&self) -> bool {
        self.shared.trip()
    }

    /// Stops the run at once because of the failure of something outside, such as another process that it needs. The run then
    /// ends as if a stage had failed. The first failure counts.
    pub fn fail(&self, failure: Failure) {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.trip();
    }

    /// Takes the failure that [`StopToken::fail`] was told of.
    pub(crate) fn take_failure(&self) -> Option<Failure> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the run is being stopped.
    pub fn is_tripped(&self) -> bool {
        self.shared.is_tripped.load(Ordering::SeqCst)
    }

    /// Asks the stages that set the pace (the forward stage in training) to end after the step in hand, as if the input
    /// had ended there. The first Ctrl-C does this in a graph that trains.
    pub fn request_finish(&self) {
        self.shared.request_finish();
    }

    /// Whether [`StopToken::request_finish`] was called.
    pub fn finish_requested(&self) -> bool {
        self.shared.finish_requested.load(Ordering::SeqCst)
    }

    /// A receiver that becomes ready (disconnected) when the token trips, for use in `select!`.
    pub(crate) fn wake(&self) -> &Receiver<()> {
        &self.tripped
    }

    /// A receiver that becomes ready (disconnected) when an orderly end is asked for.
    pub(crate) fn wake_to_finish(&self) -> &Receiver<()> {
        &self.finishing
    }
}

impl Default for StopToken {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_trips_its_children_and_no_child_trips_its_parent() {
        let outer = StopToken::new();
        let (failed, running) = (outer.child(), outer.child());
        assert!(failed.trip() && failed.is_tripped());
        assert!(!outer.is_tripped() && !running.is_tripped());
        outer.request_finish();
        assert!(running.finish_requested() && outer.child().finish_requested() && !running.is_tripped());
        assert!(outer.trip());
        assert!(running.is_tripped() && running.wake().recv().is_err());
        assert!(outer.child().is_tripped());
    }
}
