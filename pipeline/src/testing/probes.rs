//! Probes: what tests observe and steer stages with. They are progress counters, collected packets, gates, and waits
//! with a limit.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::token::Token;
use crate::edge::error::StageError;
use crate::edge::packet::Packet;
use crate::edge::payload::Payload;
use crate::edge::port::Output;

/// The time that [`eventually`] waits before it calls a state unreachable.
const PATIENCE: Duration = Duration::from_secs(20);

/// The progress of a sender: the number of sends that were begun, and of sends that returned `Ok`.
#[derive(Debug, Default)]
pub struct Progress {
    begun: AtomicU64,
    complete: AtomicU64,
}

impl Progress {
    /// Sends an item and counts the send.
    ///
    /// # Errors
    /// The errors of [`Output::send`].
    pub fn send<T: Payload>(&self, output: &mut Output<T>, item: T) -> Result<(), StageError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        output.send(item)?;
        self.complete.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// The number of sends that were begun.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// The number of sends that returned `Ok`.
    pub fn complete(&self) -> u64 {
        self.complete.load(Ordering::SeqCst)
    }
}

/// The packets that a collecting sink has taken so far. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    packets: Arc<Mutex<Vec<Packet<Token>>>>,
}

impl Collected {
    /// Adds a packet.
    pub fn push(&self, packet: Packet<Token>) {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner).push(packet);
    }

    /// All packets, in order.
    pub fn packets(&self) -> Vec<Packet<Token>> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The numbers of the tokens, in order.
    pub fn values(&self) -> Vec<u64> {
        let value = |packet: &Packet<Token>| match packet {
            Packet::Item(token) => Some(token.value),
            Packet::Mark(_) | Packet::End => None,
        };
        self.packets().iter().filter_map(value).collect()
    }

    /// Whether `End` came, as the last packet.
    pub fn ended(&self) -> bool {
        self.packets().last() == Some(&Packet::End)
    }
}

/// A gate, which lets a stage through a given number of times. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Gate {
    shared: Arc<(Mutex<Passes>, Condvar)>,
}

#[derive(Debug, Default)]
struct Passes {
    /// How many more the gate lets through. The greatest number stands for all.
    left: u64,
    /// How many wait for it.
    waiting: usize,
}

impl Gate {
    /// Makes a gate that lets nothing through yet.
    pub fn closed() -> Self {
        Self { shared: Arc::default() }
    }

    /// Makes a gate that lets everything through.
    pub fn open() -> Self {
        let gate = Self::closed();
        gate.release();
        gate
    }

    fn passes(&self) -> MutexGuard<'_, Passes> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `times` more through.
    pub fn allow(&self, times: u64) {
        let mut passes = self.passes();
        passes.left = passes.left.saturating_add(times);
        self.shared.1.notify_all();
    }

    /// Lets everything through from now on.
    pub fn release(&self) {
        self.allow(u64::MAX);
    }

    /// The number of callers that wait for the gate now. It tells that a stage has really begun, which its meter does
    /// not: a stage counts as busy from the beginning of the run.
    pub fn waiting(&self) -> usize {
        self.passes().waiting
    }

    /// Waits until the gate lets the caller through.
    pub fn pass(&self) {
        let mut passes = self.passes();
        passes.waiting += 1;
        let closed = |passes: &mut Passes| passes.left == 0;
        passes = self.shared.1.wait_while(passes, closed).unwrap_or_else(PoisonError::into_inner);
        passes.waiting -= 1;
        if passes.left != u64::MAX {
            passes.left -= 1;
        }
    }
}

/// Work that takes the time that it should on average, however late the system wakes the stage up: what one sleep takes
/// too long, the next ones take less. It plants a slow stage in a graph.
#[derive(Debug, Default)]
pub struct Sleeper {
    late: Duration,
}

impl Sleeper {
    /// Takes `time`.
    pub fn sleep(&mut self, time: Duration) {
        let begin = Instant::now();
        let sleep = time.saturating_sub(self.late);
        if !sleep.is_zero() {
            thread::sleep(sleep);
        }
        self.late = (self.late + begin.elapsed()).saturating_sub(time);
    }
}

/// Waits until `state` gives `wanted`.
///
/// # Panics
/// When `state` does not give `wanted` within 20 seconds.
pub fn eventually<S: PartialEq + Debug>(wanted: S, state: impl Fn() -> S) {
    let start = Instant::now();
    loop {
        let now = state();
        if now == wanted {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "still {now:?} after {PATIENCE:?}, {wanted:?} was expected");
        thread::sleep(Duration::from_micros(50));
    }
}

/// Checks for 10 milliseconds that `state` stays `wanted`. This is for things that must never happen, where there is
/// nothing to wait for.
///
/// # Panics
/// When `state` changes.
pub fn stays<S: PartialEq + Debug>(wanted: S, state: impl Fn() -> S) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(10) {
        let now = state();
        assert_eq!(now, wanted);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `work` on a thread of its own and returns what it returns.
///
/// # Panics
/// When `work` panics, and when it does not return within `limit`. A deadlock then fails the test and does not hang it.
pub fn within<R: Send + 'static>(limit: Duration, work: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, done) = crossbeam_channel::bounded(1);
    let worker = thread::spawn(move || {
        let _ = sender.send(work());
    });
    match done.recv_timeout(limit) {
        Ok(result) => result,
        Err(error) if error.is_timeout() => panic!("still running after {limit:?}"),
        Err(_) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the result is sent before the thread ends"),
        },
    }
}
