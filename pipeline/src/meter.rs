//! Per-stage and per-edge meters, kept by the ports so that stage bodies hold no metric code.
//!
//! Law: a stage's thread is at every moment busy, waiting for input or waiting for output, and the three
//! times add up to the thread's wall time: one clock per stage is switched between them, and every reading holds
//! to that too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a stage's thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// The thread has not started.
    Idle,
    /// In the stage's own code.
    Busy,
    /// Blocked on an empty input.
    InputWait,
    /// Blocked on a full output.
    OutputWait,
    /// The thread has ended.
    Done,
}

/// The counters of one stage. Written by the stage's thread, read by anyone at any time.
#[derive(Debug)]
pub struct StageMeter {
    /// Locked by the stage's thread only where it waits, and by readers a few times a second.
    clock: Mutex<Clock>,
    items_in: AtomicU64,
    items_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Grows with whatever shows that the stage is alive.
    moves: AtomicU64,
    rejected: Mutex<BTreeMap<&'static str, u64>>,
}

/// What the thread is doing since when, and how long it did what before.
#[derive(Debug, Clone, Copy)]
struct Clock {
    activity: Activity,
    /// The port that is waited at.
    port: Option<&'static str>,
    /// When the activity began.
    begun: Instant,
    /// When it was last booked.
    since: Instant,
    busy: Duration,
    input_wait: Duration,
    output_wait: Duration,
}

impl Clock {
    /// Books the time since the last call. The caller holds the lock, and the time is taken under it, so no two
    /// readings are out of order.
    fn advance(&mut self) {
        let now = Instant::now();
        let elapsed = now - self.since;
        self.since = now;
        match self.activity {
            Activity::Busy => self.busy += elapsed,
            Activity::InputWait => self.input_wait += elapsed,
            Activity::OutputWait => self.output_wait += elapsed,
            Activity::Idle | Activity::Done => {}
        }
    }
}

/// A reading of a [`StageMeter`]. Times are seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StageReading {
    /// Items received on all input ports.
    pub items_in: u64,
    /// Items sent on all output ports, counted once whatever the number of consumers.
    pub items_out: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Seconds in the stage's own code.
    pub busy: f64,
    /// Seconds blocked on empty inputs.
    pub input_wait: f64,
    /// Seconds blocked on full outputs.
    pub output_wait: f64,
    /// Records this stage rejected, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Whether the stage's thread has ended.
    pub done: bool,
}

/// What a stage's thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageState {
    /// Doing what.
    pub activity: Activity,
    /// The port that it waits at.
    pub port: Option<&'static str>,
    /// How long it has been doing so.
    pub since: Duration,
}

impl StageReading {
    /// Wall time of the stage's thread so far, in seconds.
    pub fn wall(&self) -> f64 {
        self.busy + self.input_wait + self.output_wait
    }

    /// Share of its wall time that the stage was busy, 0 to 1.
    pub fn utilization(&self) -> f64 {
        let wall = self.wall();
        if wall > 0.0 { self.busy / wall } else { 0.0 }
    }
}

impl StageMeter {
    /// A meter whose clock has not started.
    pub fn new() -> Self {
        let now = Instant::now();
        let clock = Clock {
            activity: Activity::Idle,
            port: None,
            begun: now,
            since: now,
            busy: Duration::ZERO,
            input_wait: Duration::ZERO,
            output_wait: Duration::ZERO,
        };
        Self {
            clock: Mutex::new(clock),
            items_in: AtomicU64::new(0),
            items_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            rejected: Mutex::new(BTreeMap::new()),
        }
    }

    /// Ends the current activity and begins `next`. Only the stage's thread calls this.
    pub(crate) fn switch(&self, next: Activity) {
        self.begin(next, None);
    }

    /// As [`StageMeter::switch`], to a wait at a port.
    pub(crate) fn wait(&self, next: Activity, port: &'static str) {
        self.begin(next, Some(port));
    }

    fn begin(&self, next: Activity, port: Option<&'static str>) {
        self.touch();
        let mut clock = self.clock();
        clock.advance();
        (clock.activity, clock.port, clock.begun) = (next, port, clock.since);
    }

    /// Says that the stage is alive. A stage that works for long between two port operations calls this as its work
    /// goes on, so that the watchdog does not take it for one that hangs.
    pub fn touch(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes whenever the stage moved.
    pub(crate) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.items_in.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.items_out.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts one rejected record. Returns how many this stage has rejected by now.
    pub fn reject(&self, reason: &'static str) -> u64 {
        self.touch();
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        *rejected.entry(reason).or_default() += 1;
        rejected.values().sum()
    }

    /// What the thread is doing now.
    pub fn activity(&self) -> Activity {
        self.clock().activity
    }

    /// What the thread is doing now, where and for how long.
    pub fn state(&self) -> StageState {
        let clock = self.clock();
        StageState { activity: clock.activity, port: clock.port, since: clock.begun.elapsed() }
    }

    /// A reading that includes the activity in progress.
    pub fn read(&self) -> StageReading {
        let clock = {
            let mut clock = self.clock();
            clock.advance();
            *clock
        };
        StageReading {
            items_in: self.items_in.load(Ordering::Relaxed),
            items_out: self.items_out.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            busy: clock.busy.as_secs_f64(),
            input_wait: clock.input_wait.as_secs_f64(),
            output_wait: clock.output_wait.as_secs_f64(),
            rejected: self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            done: clock.activity == Activity::Done,
        }
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for StageMeter {
    fn default() -> Self {
        Self::new()
    }
}
