//! The meters of stages. The ports keep them, so stage bodies hold no metric code.
//!
//! Law: at every moment, a stage's thread is busy, waits at one input port or waits at one edge of an output, and these
//! times add up to the thread's wall time in every reading. This holds because each stage has one clock, which is
//! switched between them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::edge::cpu::{Thread, Times};
use crate::edge::cycle::SharedClock;
use crate::edge::progress::{Progress, Task};
use crate::edge::trace::Recorder;

pub use crate::edge::activity::{Activity, WaitSlot};

/// The counters of one stage. The stage's thread writes them; any thread may read them at any time.
#[derive(Debug)]
pub struct StageMeter {
    /// The stage's thread locks the clock only where it waits. Readers lock it a few times a second.
    clock: Mutex<Clock>,
    items_in: AtomicU64,
    items_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// A count that grows with everything that shows that the stage is alive.
    moves: AtomicU64,
    thread: Mutex<ThreadTimes>,
    /// The clock of the cycle of stages to which this stage belongs.
    shared: Option<Arc<SharedClock>>,
    /// The recorder of the stage, in a run that is traced.
    recorder: Option<Recorder>,
    rejected: Mutex<BTreeMap<&'static str, u64>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    progress: Progress,
    /// The most workers that are of use to the stage. The greatest number stands for any.
    useful_workers: AtomicU64,
}

/// What the thread is doing now and since when, and the time that it spent on each activity before.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    activity: Activity,
    /// The wait in progress; `None` unless the thread waits.
    waits_at: Option<WaitSlot>,
    /// When the activity began.
    begun: Instant,
    /// When time was last added to one of the sums.
    since: Instant,
    busy: Duration,
    waits: Vec<Wait>,
}

/// The time that a thread has waited at one end of one edge.
#[derive(Debug, Clone)]
struct Wait {
    /// `InputWait` or `OutputWait`.
    activity: Activity,
    port: &'static str,
    time: Duration,
}

/// The stage's thread, while it runs, and its times as far as they were read.
#[derive(Debug, Default)]
struct ThreadTimes {
    running: Option<Thread>,
    last: Times,
}

impl ThreadTimes {
    fn read(&mut self) -> Times {
        let now = self.running.as_ref().map(Thread::times).unwrap_or_default();
        // The two sources of a time may differ a little, and no reading goes back.
        self.last.on_core = self.last.on_core.max(now.on_core);
        self.last.queued = self.last.queued.max(now.queued);
        self.last
    }
}

impl Clock {
    /// Adds the time since the last call to the activity in progress. The caller holds the lock and `now` was taken
    /// under it, so no two readings are out of order.
    pub(crate) fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        self.since = now;
        match (self.activity, self.waits_at) {
            (Activity::Busy, _) => self.busy += elapsed,
            (Activity::InputWait | Activity::OutputWait, Some(slot)) => {
                self.waits[slot.index()].time += elapsed;
            }
            _ => {}
        }
    }

    fn waited(&self, activity: Activity) -> f64 {
        let waits = self.waits.iter().filter(|wait| wait.activity == activity);
        waits.map(|wait| wait.time).sum::<Duration>().as_secs_f64()
    }
}

/// A reading of a [`StageMeter`]. All times are in seconds.
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
    /// Seconds blocked at each end of an edge that the stage holds; [`StageReading::waited`] finds one.
    pub waits: Vec<f64>,
    /// Seconds that the stage's own thread was on a core, waits included, which cost next to nothing. Threads that the
    /// stage started are not in it. `None` where the operating system does not tell.
    pub cpu: Option<f64>,
    /// Seconds for which the stage's own thread could have run and had no core. `None` where the operating system does
    /// not tell.
    pub queued: Option<f64>,
    /// Records this stage rejected, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// The other counts of this stage, made with [`StageMeter::count`], by name.
    pub counts: BTreeMap<&'static str, u64>,
    /// The share of its work that a source has done, from 0 to 1. `None` where the stage does not say.
    pub progress: Option<f64>,
    /// What the stage is doing at the moment, where it says so, such as `evaluating`.
    pub task: Option<&'static str>,
    /// Whether the stage's thread has ended.
    pub done: bool,
}

/// What a stage's thread is doing, at which port, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageState {
    /// The activity.
    pub activity: Activity,
    /// The port at which the thread waits; `None` unless it waits.
    pub port: Option<&'static str>,
    /// How long this activity has lasted.
    pub since: Duration,
}

impl StageReading {
    /// Wall time of the stage's thread so far, in seconds.
    pub fn wall(&self) -> f64 {
        self.busy + self.input_wait + self.output_wait
    }

    /// The items that the stage has passed on: those that it sent, or received if it `sends` none.
    pub fn passed(&self, sends: bool) -> u64 {
        if sends { self.items_out } else { self.items_in }
    }

    /// Seconds blocked at one end of an edge.
    pub fn waited(&self, slot: WaitSlot) -> f64 {
        self.waits.get(slot.index()).copied().unwrap_or(0.0)
    }
}

impl StageMeter {
    /// A meter whose clock has not started.
    pub fn new() -> Self {
        Self::within(None, None)
    }

    /// A meter of a stage on a cycle whose stages share a clock, if there is such a cycle, and with a recorder, if the
    /// run is traced.
    pub(crate) fn within(shared: Option<Arc<SharedClock>>, recorder: Option<Recorder>) -> Self {
        let now = Instant::now();
        let clock = Clock {
            activity: Activity::Idle,
            waits_at: None,
            begun: now,
            since: now,
            busy: Duration::ZERO,
            waits: Vec::new(),
        };
        Self {
            clock: Mutex::new(clock),
            items_in: AtomicU64::new(0),
            items_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            thread: Mutex::default(),
            shared,
            recorder,
            rejected: Mutex::new(BTreeMap::new()),
            counts: Mutex::new(BTreeMap::new()),
            progress: Progress::unknown(),
            useful_workers: AtomicU64::new(u64::MAX),
        }
    }

    /// Says that more than so many workers are of no use to the stage, for example because there are no more files. The
    /// diagnosis then advises no more.
    pub fn limit_useful_workers(&self, most: u64) {
        self.useful_workers.store(most, Ordering::Relaxed);
    }

    /// The most workers that are of use to the stage, if the stage says so.
    pub(crate) fn useful_workers(&self) -> u64 {
        self.useful_workers.load(Ordering::Relaxed)
    }

    /// Makes a place for the waits at one end of an edge: `InputWait` for the consumer's end, `OutputWait` for the
    /// producer's.
    pub(crate) fn add_wait(&self, activity: Activity, port: &'static str) -> WaitSlot {
        let mut clock = self.clock();
        clock.waits.push(Wait { activity, port, time: Duration::ZERO });
        self.recorder.iter().for_each(Recorder::add_end);
        WaitSlot::new(clock.waits.len() - 1)
    }

    /// Starts the clock at `begin`, which is the same moment for all stages of a run. From then on the stage is busy.
    pub(crate) fn start(&self, begin: Instant) {
        let mut clock = self.clock();
        (clock.since, clock.begun) = (begin, begin);
        if let Some(shared) = &self.shared {
            shared.lock().switch(clock.activity, Activity::Busy, begin);
        }
        clock.activity = Activity::Busy;
        if let Some(recorder) = &self.recorder {
            recorder.start(begin);
        }
    }

    /// Ends the current activity and begins `next`, which is not a wait. Only the stage's thread calls this.
    pub(crate) fn switch(&self, next: Activity) {
        self.begin(next, None);
    }

    /// Ends the current activity and begins the wait `next` at an end of an edge. Only the stage's thread calls this.
    pub(crate) fn wait(&self, next: Activity, at: WaitSlot) {
        self.begin(next, Some(at));
    }

    fn begin(&self, next: Activity, waits_at: Option<WaitSlot>) {
        self.touch();
        let mut clock = self.clock();
        let now = Instant::now();
        clock.advance(now);
        if let Some(shared) = &self.shared {
            shared.lock().switch(clock.activity, next, now);
        }
        if let Some(recorder) = &self.recorder {
            recorder.switch(next, waits_at.map(|slot| clock.waits[slot.index()].port), now);
        }
        (clock.activity, clock.waits_at, clock.begun) = (next, waits_at, now);
    }

    /// Remembers the calling thread, whose time on a core is read from now on.
    pub(crate) fn thread_begins(&self) {
        self.thread().running = Some(Thread::current());
    }

    /// Takes the last reading of the calling thread's time on a core. The thread ends.
    pub(crate) fn thread_ends(&self) {
        let mut thread = self.thread();
        thread.read();
        thread.running = None;
    }

    fn thread(&self) -> MutexGuard<'_, ThreadTimes> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The recorder of the stage, in a run that is traced.
    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// Says that the stage is alive. A stage that works for long between two port operations calls this while its work
    /// proceeds, so that the watchdog does not take it for a stage that hangs.
    pub fn touch(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// A number that changes whenever the stage moves.
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

    /// Counts one rejected record. Returns how many records this stage has rejected by now.
    pub fn reject(&self, reason: &'static str) -> u64 {
        self.touch();
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        *rejected.entry(reason).or_default() += 1;
        rejected.values().sum()
    }

    /// Adds to a count that users see at the end of a run, such as the number of items that the stage left out. The
    /// stage chooses the name of the count.
    pub fn count(&self, name: &'static str, items: u64) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += items;
    }

    /// Says which share of its work a source has done, from 0 to 1. A source that knows how much there is to read calls
    /// this while it reads.
    pub fn progressed(&self, share: f64) {
        self.progress.set(share);
    }

    /// Says what the stage does from now on, until the returned value is dropped. It is for work that takes long and
    /// happens now and then; `task` is a participle such as `evaluating`.
    pub fn begin_task(&self, task: &'static str) -> Task<'_> {
        self.progress.begin(task)
    }

    /// What the thread is doing now.
    pub fn activity(&self) -> Activity {
        self.clock().activity
    }

    /// What the thread is doing now, at which port and for how long.
    pub fn state(&self) -> StageState {
        let clock = self.clock();
        let now = Instant::now();
        StageState::of(&clock, now)
    }

    /// A reading that includes the activity in progress.
    pub fn read(&self) -> StageReading {
        let clock = {
            let mut clock = self.clock();
            clock.advance(Instant::now());
            clock.clone()
        };
        self.reading(&clock)
    }

    /// The clock, which stands still as long as the caller holds the lock.
    pub(crate) fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reading with the times of `clock`.
    pub(crate) fn reading(&self, clock: &Clock) -> StageReading {
        let times = self.thread().read();
        StageReading {
            items_in: self.items_in.load(Ordering::Relaxed),
            items_out: self.items_out.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            busy: clock.busy.as_secs_f64(),
            input_wait: clock.waited(Activity::InputWait),
            output_wait: clock.waited(Activity::OutputWait),
            waits: clock.waits.iter().map(|wait| wait.time.as_secs_f64()).collect(),
            cpu: times.on_core.map(|time| time.as_secs_f64()),
            queued: times.queued.map(|time| time.as_secs_f64()),
            rejected: self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            counts: self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            progress: self.progress.share(),
            task: self.progress.task(),
            done: clock.activity == Activity::Done,
        }
    }
}

impl StageState {
    /// The state of a clock at `now`.
    pub(crate) fn of(clock: &Clock, now: Instant) -> Self {
        Self {
            activity: clock.activity,
            port: clock.waits_at.map(|slot| clock.waits[slot.index()].port),
            since: now.saturating_duration_since(clock.begun),
        }
    }
}

impl Default for StageMeter {
    fn default() -> Self {
        Self::new()
    }
}
