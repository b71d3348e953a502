//! What tests look at and steer by: progress, collected packets, gates, waiting with a limit.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Token;
use crate::error::StageError;
use crate::packet::Packet;
use crate::payload::Payload;
use crate::port::Output;

/// How long [`eventually`] waits before it calls a state unreachable.
const PATIENCE: Duration = Duration::from_secs(20);

/// How far a sender is: sends begun and sends that returned `Ok`.
#[derive(Debug, Default)]
pub struct Progress {
    begun: AtomicU64,
    complete: AtomicU64,
}

impl Progress {
    /// Sends and counts.
    ///
    /// # Errors
    /// As [`Output::send`].
    pub fn send<T: Payload>(&self, output: &mut Output<T>, item: T) -> Result<(), StageError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        output.send(item)?;
        self.complete.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Sends begun.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Sends that returned `Ok`.
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

    /// All packets in order.
    pub fn packets(&self) -> Vec<Packet<Token>> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The numbers of the tokens in order.
    pub fn values(&self) -> Vec<u64> {
        let value = |packet: &Packet<Token>| match packet {
            Packet::Item(token) => Some(token.value),
            Packet::Mark(_) | Packet::End => None,
        };
        self.packets().iter().filter_map(value).collect()
    }

    /// Whether `End` came, and as the last packet.
    pub fn ended(&self) -> bool {
        self.packets().last() == Some(&Packet::End)
    }
}

/// Lets a stage through a given number of times. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Gate {
    shared: Arc<(Mutex<u64>, Condvar)>,
}

impl Gate {
    /// A gate that lets nothing through yet.
    pub fn closed() -> Self {
        Self { shared: Arc::new((Mutex::new(0), Condvar::new())) }
    }

    /// A gate that lets everything through.
    pub fn open() -> Self {
        let gate = Self::closed();
        gate.release();
        gate
    }

    /// Lets `times` more through.
    pub fn allow(&self, times: u64) {
        let (left, changed) = &*self.shared;
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_add(times);
        changed.notify_all();
    }

    /// Lets everything through from now on.
    pub fn release(&self) {
        self.allow(u64::MAX);
    }

    /// Waits to be let through.
    pub fn pass(&self) {
        let (left, changed) = &*self.shared;
        let left = left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = changed.wait_while(left, |left| *left == 0).unwrap_or_else(PoisonError::into_inner);
        if *left != u64::MAX {
            *left -= 1;
        }
    }
}

/// Waits until `state` gives `wanted`.
///
/// # Panics
/// When it does not within 20 seconds.
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

/// Checks for 10 milliseconds that `state` stays `wanted`: for what must never happen, where there is nothing
/// to wait for.
///
/// # Panics
/// When it changes.
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
/// When it panics, and when it does not return within `limit`: a deadlock fails the test in place of
/// hanging it.
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
