//! The graph-wide bound on queued payload bytes: one account for all edges of a run.
//!
//! Law: an item is admitted when all queued bytes, this item included, stay within the cap, or when its own edge is
//! empty. The queued bytes therefore exceed the cap by at most one item an edge, and every edge always has room for one
//! item, which is the least that its own bounds may be set to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

/// The account of a run. One lock guards the whole account. The lock is taken once for each send and once for each
/// receive, only in graphs that have a cap, and never while anything waits.
#[derive(Debug)]
pub struct Budget {
    cap: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queued: usize,
    peak: usize,
    edges: Vec<Account>,
}

/// The queued bytes of one edge, and how to wake its sender.
#[derive(Debug)]
struct Account {
    queued: usize,
    /// Whether the sender was refused and now waits for `wake`.
    waiting: bool,
    /// Wakes the sender; `None` once the receiver is gone.
    wake: Option<Sender<()>>,
}

/// An edge's part of a [`Budget`].
#[derive(Debug, Clone)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    edge: usize,
}

/// A guard that closes the share when the last receiver of the edge is dropped. What lay in the channel is then gone,
/// and its bytes are given back.
#[derive(Debug)]
pub(crate) struct CloseShare(pub(crate) Share);

impl Budget {
    /// Makes an account with a cap in bytes.
    pub(crate) fn new(cap: usize) -> Self {
        Self { cap, state: Mutex::default() }
    }

    /// The cap, in bytes.
    pub fn cap(&self) -> usize {
        self.cap
    }

    /// Payload bytes that are queued on all edges now. An item that was admitted and waits for a place in its edge
    /// counts too.
    pub fn queued(&self) -> usize {
        self.lock().queued
    }

    /// The most payload bytes that were queued at any moment so far.
    pub fn peak(&self) -> usize {
        self.lock().peak
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Opens a share for a further edge. Whenever a refused item may fit, `wake` gets a token if it has room for one.
    pub(crate) fn new(budget: &Arc<Budget>, wake: Sender<()>) -> Self {
        let mut state = budget.lock();
        state.edges.push(Account { queued: 0, waiting: false, wake: Some(wake) });
        Self { budget: budget.clone(), edge: state.edges.len() - 1 }
    }

    /// Counts an item in if it may be queued now, and returns whether it may. A sender that is refused waits for its
    /// token and asks again; every release after this call leaves a token.
    pub(crate) fn admit(&self, bytes: usize) -> bool {
        let mut state = self.budget.lock();
        let State { queued, peak, edges } = &mut *state;
        let account = &mut edges[self.edge];
        if account.wake.is_none() {
            // The send finds out by itself that nobody receives.
            return true;
        }
        let fits = queued.checked_add(bytes).is_some_and(|all| all <= self.budget.cap);
        if !fits && account.queued > 0 {
            account.waiting = true;
            return false;
        }
        account.waiting = false;
        account.queued += bytes;
        *queued += bytes;
        *peak = (*peak).max(*queued);
        true
    }

    /// Counts out an item that was taken from the edge.
    pub(crate) fn release(&self, bytes: usize) {
        let mut state = self.budget.lock();
        let account = &mut state.edges[self.edge];
        account.queued -= bytes;
        state.queued -= bytes;
        state.wake();
    }
}

impl State {
    /// Leaves a token for every sender that was refused. The caller holds the lock, as in `admit`. A sender was
    /// therefore refused either before this call, which then finds it waiting, or after the bytes were counted out.
    fn wake(&mut self) {
        for account in &mut self.edges {
            if std::mem::take(&mut account.waiting)
                && let Some(wake) = &account.wake
            {
                // A full slot holds a token that the sender has not taken yet.
                let _ = wake.try_send(());
            }
        }
    }
}

impl Drop for CloseShare {
    fn drop(&mut self) {
        let mut state = self.0.budget.lock();
        let account = &mut state.edges[self.0.edge];
        account.wake = None;
        let left = std::mem::take(&mut account.queued);
        state.queued -= left;
        state.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(cap: usize) -> (Arc<Budget>, [Share; 2], [crossbeam_channel::Receiver<()>; 2]) {
        let budget = Arc::new(Budget::new(cap));
        let (wake0, woken0) = crossbeam_channel::bounded(1);
        let (wake1, woken1) = crossbeam_channel::bounded(1);
        let shares = [Share::new(&budget, wake0), Share::new(&budget, wake1)];
        (budget, shares, [woken0, woken1])
    }

    #[test]
    fn an_empty_edge_admits_one_item_and_then_the_cap_rules() {
        let (budget, [a, b], [woken_a, woken_b]) = shares(10);
        assert!(a.admit(8));
        assert!(a.admit(2), "the cap itself is allowed");
        assert!(!a.admit(1));
        assert!(b.admit(100), "an empty edge");
        assert!(!b.admit(1));
        assert_eq!((budget.queued(), budget.peak()), (110, 110));
        assert!(woken_a.is_empty() && woken_b.is_empty());

        // Any release wakes every sender that was refused, once.
        a.release(2);
        assert_eq!((woken_a.len(), woken_b.len()), (1, 1));
        assert!(!a.admit(1), "108 of 10");
        b.release(100);
        assert!(a.admit(2));
        assert!(b.admit(1), "an empty edge");
        assert!(!b.admit(1));
        assert_eq!((budget.queued(), budget.peak()), (11, 110));
    }

    #[test]
    fn a_receiver_that_goes_gives_back_what_it_did_not_take() {
        let (budget, [a, b], [woken_a, woken_b]) = shares(10);
        assert!(a.admit(6) && a.admit(4) && b.admit(3));
        assert!(!b.admit(3));
        drop(CloseShare(a.clone()));
        assert_eq!(budget.queued(), 3);
        assert_eq!(woken_b.len(), 1);
        assert!(b.admit(7));
        // The closed edge takes no part any more, and its sender is woken by the disconnect.
        assert!(a.admit(1000));
        assert_eq!(budget.queued(), 10);
        assert_eq!(woken_a.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
    }
}
