//! Per-stage and per-edge meters, kept by the ports so that stage bodies hold no metric code.
//!
//! Law: a stage's thread is at every moment busy, waiting for input or waiting for output, and the three
//! times add up to the thread's wall time: one clock per stage is switched between them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
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

impl Activity {
    fn from_code(code: u8) -> Self {
        match code {
            1 => Activity::Busy,
            2 => Activity::InputWait,
            3 => Activity::OutputWait,
            4 => Activity::Done,
            _ => Activity::Idle,
        }
    }

    fn code(self) -> u8 {
        match self {
            Activity::Idle => 0,
            Activity::Busy => 1,
            Activity::InputWait => 2,
            Activity::OutputWait => 3,
            Activity::Done => 4,
        }
    }
}

/// The counters of one stage. Written by the stage's thread, read by anyone at any time.
#[derive(Debug)]
pub struct StageMeter {
    origin: Instant,
    activity: AtomicU8,
    /// When the current activity began, in nanoseconds since `origin`.
    since: AtomicU64,
    busy: AtomicU64,
    input_wait: AtomicU64,
    output_wait: AtomicU64,
    items_in: AtomicU64,
    items_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    rejected: Mutex<BTreeMap<&'static str, u64>>,
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
        Self {
            origin: Instant::now(),
            activity: AtomicU8::new(Activity::Idle.code()),
            since: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            input_wait: AtomicU64::new(0),
            output_wait: AtomicU64::new(0),
            items_in: AtomicU64::new(0),
            items_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            rejected: Mutex::new(BTreeMap::new()),
        }
    }

    /// Ends the current activity and begins `next`. Only the stage's thread calls this.
    pub(crate) fn switch(&self, next: Activity) {
        let now = self.now();
        let elapsed = now.saturating_sub(self.since.swap(now, Ordering::Relaxed));
        if let Some(total) =
            self.total(Activity::from_code(self.activity.swap(next.code(), Ordering::Relaxed)))
        {
            total.fetch_add(elapsed, Ordering::Relaxed);
        }
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
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        *rejected.entry(reason).or_default() += 1;
        rejected.values().sum()
    }

    /// What the thread is doing now.
    pub fn activity(&self) -> Activity {
        Activity::from_code(self.activity.load(Ordering::Relaxed))
    }

    /// A reading that includes the activity in progress.
    pub fn read(&self) -> StageReading {
        let activity = self.activity();
        let running = Duration::from_nanos(self.now().saturating_sub(self.since.load(Ordering::Relaxed)));
        let seconds = |total: &AtomicU64, of: Activity| {
            let done = Duration::from_nanos(total.load(Ordering::Relaxed));
            (done + if activity == of { running } else { Duration::ZERO }).as_secs_f64()
        };
        StageReading {
            items_in: self.items_in.load(Ordering::Relaxed),
            items_out: self.items_out.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            busy: seconds(&self.busy, Activity::Busy),
            input_wait: seconds(&self.input_wait, Activity::InputWait),
            output_wait: seconds(&self.output_wait, Activity::OutputWait),
            rejected: self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            done: activity == Activity::Done,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn total(&self, activity: Activity) -> Option<&AtomicU64> {
        match activity {
            Activity::Busy => Some(&self.busy),
            Activity::InputWait => Some(&self.input_wait),
            Activity::OutputWait => Some(&self.output_wait),
            Activity::Idle | Activity::Done => None,
        }
    }
}

impl Default for StageMeter {
    fn default() -> Self {
        Self::new()
    }
}
