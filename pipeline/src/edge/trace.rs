//! The recorder of a stage: what its thread did from moment to moment, for the trace of a run.
//!
//! Laws:
//!
//! - The spans of a stage follow one another without a gap and never overlap, because each begins where the one before
//!   it ended. They begin and end at the switches of the stage's clock, so their sums are those of the meter to the
//!   nanosecond.
//! - A recorder keeps no more than its bounds allow. It keeps the beginning, and counts what it leaves out.
//! - A recorder belongs to one stage. No stage ever waits for the recorder of another.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::edge::activity::{Activity, WaitSlot};

/// The most that a recorder keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecorderLimits {
    /// The most spans of the stage.
    pub(crate) spans: usize,
    /// The most packets at each end of an edge that the stage holds.
    pub(crate) packets: usize,
}

/// A time for which a stage's thread did one thing. Times are in nanoseconds since the run began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub begin: u64,
    /// When it ended.
    pub end: u64,
    /// What the thread did: `Busy`, `InputWait` or `OutputWait`.
    pub activity: Activity,
    /// The port at which the thread waited; `None` if it was busy.
    pub port: Option<&'static str>,
    /// The step that the thread worked on, counted from 1; `None` where the stage's items belong to no step, and while
    /// the thread waits for input.
    pub step: Option<u64>,
}

/// The spans of a stage for which its recorder had no room. Times are in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unrecorded {
    /// The number of spans.
    pub spans: u64,
    /// When the first of them began, since the run began.
    pub begin: u64,
    /// When the last of them ended, since the run began.
    pub end: u64,
    /// How long the thread was busy in them.
    pub busy: u64,
    /// How long the thread waited for input in them.
    pub input_wait: u64,
    /// How long the thread waited for room in them.
    pub output_wait: u64,
}

/// The packets that passed one end of an edge.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// When each of the first packets passed, in nanoseconds since the run began.
    pub(crate) times: Vec<u64>,
    /// The number of all packets.
    pub(crate) all: u64,
}

/// What a recorder has recorded.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) spans: Vec<Span>,
    pub(crate) unrecorded: Unrecorded,
    /// The packets by the places of the waits at the ends of edges.
    pub(crate) passed: Vec<Passed>,
}

/// The recorder of a stage. Only the stage's thread locks it until the run has ended, so the lock is always free.
#[derive(Debug)]
pub(crate) struct Recorder(Mutex<State>);

#[derive(Debug)]
struct State {
    limits: RecorderLimits,
    /// When the run began.
    origin: Instant,
    /// The activity in progress.
    activity: Activity,
    port: Option<&'static str>,
    /// When the span in progress began, in nanoseconds since the origin.
    since: u64,
    /// The step of the last item that was received, if it had one.
    step: Option<u64>,
    recorded: Recorded,
}

impl Recorder {
    /// Makes a recorder of a stage that has not begun.
    pub(crate) fn new(limits: RecorderLimits) -> Self {
        Self(Mutex::new(State {
            limits,
            origin: Instant::now(),
            activity: Activity::Idle,
            port: None,
            since: 0,
            step: None,
            recorded: Recorded::default(),
        }))
    }

    /// The most that the recorder keeps.
    pub(crate) fn limits(&self) -> RecorderLimits {
        self.state().limits
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a place for the packets at one end of an edge. Places have the numbers of the places of waits.
    pub(crate) fn add_end(&self) {
        self.state().recorded.passed.push(Passed::default());
    }

    /// Notes that the stage's clock starts at `begin`, when the run begins.
    pub(crate) fn start(&self, begin: Instant) {
        let mut state = self.state();
        state.origin = begin;
        state.activity = Activity::Busy;
    }

    /// Notes that the stage's clock is switched at `now`.
    pub(crate) fn switch(&self, next: Activity, port: Option<&'static str>, now: Instant) {
        let mut state = self.state();
        let (at, step) = (state.since_origin(now), state.step);
        state.close(at, step);
        (state.activity, state.port) = (next, port);
    }

    /// Notes that a packet was received, and whether the stage has waited for it. From here on the stage works on the
    /// step of the packet, if it has one.
    pub(crate) fn received(&self, end: WaitSlot, step: Option<u64>, waited: bool) {
        let mut state = self.state();
        let now = state.since_origin(Instant::now());
        if step.is_some() && step != state.step {
            // After a wait, the span in progress has only just begun.
            if !waited {
                let before = state.step;
                state.close(now, before);
            }
            state.step = step;
        }
        state.pass(end, now);
    }

    /// Notes that an item or a mark is ready to be sent. Returns the moment, in nanoseconds since the run began. What
    /// the stage did since its last span ended belongs to the step of the item, if it has one.
    pub(crate) fn made(&self, step: Option<u64>) -> u64 {
        let mut state = self.state();
        let ready = state.since_origin(Instant::now());
        if step.is_some() && step != state.step {
            // The end lies behind the moment at which the packet leaves, so that the packet leaves from this span.
            let now = state.since_origin(Instant::now());
            state.close(now, step);
        }
        ready
    }

    /// Notes that a packet, which was ready at `ready`, was sent.
    pub(crate) fn sent(&self, end: WaitSlot, ready: u64) {
        self.state().pass(end, ready);
    }

    /// Takes what was recorded. A span that is still in progress ends at `end`, in nanoseconds since the run began.
    /// Whatever the thread does afterwards is not recorded.
    pub(crate) fn take(&self, end: u64) -> Recorded {
        let mut state = self.state();
        let step = state.step;
        state.close(end, step);
        state.activity = Activity::Done;
        state.limits = RecorderLimits { spans: 0, packets: 0 };
        std::mem::take(&mut state.recorded)
    }
}

impl State {
    fn since_origin(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.origin))
    }

    /// Ends the span in progress.
    fn close(&mut self, end: u64, step: Option<u64>) {
        let (begin, activity) = (self.since, self.activity);
        // A thread that hangs when the run has ended may go on after the last moment of the trace.
        let end = end.max(begin);
        self.since = end;
        let time = end - begin;
        let step = step.filter(|_| activity != Activity::InputWait);
        if time == 0 || matches!(activity, Activity::Idle | Activity::Done) {
            return;
        }
        let Recorded { spans, unrecorded, .. } = &mut self.recorded;
        if spans.len() < self.limits.spans {
            spans.push(Span { begin, end, activity, port: self.port, step });
            return;
        }
        if unrecorded.spans == 0 {
            unrecorded.begin = begin;
        }
        unrecorded.spans += 1;
        unrecorded.end = end;
        match activity {
            Activity::Busy => unrecorded.busy += time,
            Activity::InputWait => unrecorded.input_wait += time,
            Activity::OutputWait => unrecorded.output_wait += time,
            Activity::Idle | Activity::Done => {}
        }
    }

    fn pass(&mut self, end: WaitSlot, at: u64) {
        let most = self.limits.packets;
        // A recorder that was taken has no places any more.
        let Some(passed) = self.recorded.passed.get_mut(end.index()) else { return };
        passed.all += 1;
        if passed.times.len() < most {
            passed.times.push(at);
        }
    }
}

/// A time in whole nanoseconds, of which a `u64` holds 584 years.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
