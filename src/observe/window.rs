//! The window: rates and shares of the last seconds, from two readings.

use std::collections::VecDeque;
use std::sync::Arc;

use framewise_pipeline::engine::reading::Reading;

/// The least time over which rates are taken, in seconds.
const SPAN: f64 = 2.0;
/// The most time over which rates are taken, in seconds: where a step takes long, this many seconds hold some.
const LONGEST: f64 = 60.0;
/// The number of items that a stage must have passed on for its rate to be told. The window of a slow stage is longer,
/// so that its rate does not jump with each item.
const ITEMS: u64 = 5;

/// The readings of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Window {
    readings: VecDeque<Arc<Reading>>,
}

/// What a stage is doing at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Live {
    /// The items so far: those that the stage sent, or received if it sends none.
    pub(crate) items: u64,
    /// The items per second.
    pub(crate) rate: f64,
    /// The share of the time in which the stage was busy, 0 to 1.
    pub(crate) busy: f64,
    /// The share of the time in which the stage waited for input.
    pub(crate) input_wait: f64,
    /// The share of the time in which the stage waited for room in an output.
    pub(crate) output_wait: f64,
    /// Whether the stage's thread has ended.
    pub(crate) done: bool,
}

impl Window {
    /// Makes an empty window.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The seconds from the beginning of the run to the last reading.
    pub(crate) fn seconds(&self) -> f64 {
        self.last().map_or(0.0, |last| last.seconds)
    }

    /// Adds a reading.
    pub(crate) fn push(&mut self, reading: Arc<Reading>) {
        let now = reading.seconds;
        self.readings.push_back(reading);
        // One reading that is older than the longest window stays, so that the window is as long as it may be.
        while self.readings.len() > 2 && now - self.readings[1].seconds >= LONGEST {
            self.readings.pop_front();
        }
    }

    /// The last reading.
    pub(crate) fn last(&self) -> Option<&Reading> {
        self.readings.back().map(|last| &**last)
    }

    /// The tasks that stages are at, each with the seconds for which the stage has been busy.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let stages = self.last().into_iter().flat_map(|last| last.stages.iter().zip(&last.states));
        stages.filter_map(|(stage, state)| stage.task.map(|task| (task, state.since.as_secs_f64())))
    }

    /// What each stage is doing. `sends` says which of them have consumers.
    pub(crate) fn live(&self, sends: impl Fn(usize) -> bool) -> Vec<Live> {
        let Some(last) = self.last() else { return Vec::new() };
        (0..last.stages.len()).map(|stage| self.stage(last, stage, sends(stage))).collect()
    }

    fn stage(&self, last: &Reading, stage: usize, sends: bool) -> Live {
        let items = |reading: &Reading| reading.stages[stage].passed(sends);
        let ago = |reading: &&Arc<Reading>| last.seconds - reading.seconds;
        let enough = |reading: &&Arc<Reading>| {
            ago(reading) >= SPAN && items(last) - items(reading) >= ITEMS || ago(reading) >= LONGEST
        };
        let earlier = || self.readings.iter().rev().skip(1);
        let (new, seconds) = match earlier().find(enough) {
            Some(before) => (items(last) - items(before), ago(&before)),
            // The whole run is shorter than that.
            None => (items(last), last.seconds),
        };
        let window = earlier().find(|reading| ago(reading) >= SPAN).map(|before| last.since(before));
        let window = window.as_ref().unwrap_or(last);
        let shares = window.shares(stage);
        Live {
            items: items(last),
            rate: if seconds > 0.0 { new as f64 / seconds } else { 0.0 },
            busy: shares.busy,
            input_wait: shares.input_wait,
            output_wait: shares.output_wait,
            done: last.stages[stage].done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use framewise_pipeline::edge::meter::{Activity, StageReading, StageState};

    use super::*;

    /// A reading of a stage that is busy for three quarters of its time.
    fn reading(seconds: u32, items_out: u64) -> Arc<Reading> {
        let seconds = f64::from(seconds);
        let (busy, input_wait) = (seconds * 0.75, seconds * 0.25);
        Arc::new(Reading {
            seconds,
            cpu: None,
            queued: None,
            stages: vec![StageReading { items_out, busy, input_wait, ..StageReading::default() }],
            states: vec![StageState { activity: Activity::Busy, port: None, since: Duration::ZERO }],
            edges: Vec::new(),
            units: vec![busy],
        })
    }

    #[test]
    fn rates_and_shares_are_those_of_the_last_two_seconds() {
        let mut window = Window::new();
        for second in 0..=10 {
            // There is one item a second at first, and ten a second from the eighth second on.
            let items = if second <= 8 { second } else { 8 + 10 * (second - 8) };
            window.push(reading(second, items.into()));
        }
        let live = window.live(|_| true)[0];
        assert_eq!((live.items, live.rate), (28, 10.0));
        assert_eq!((live.busy, live.input_wait, live.output_wait), (0.75, 0.25, 0.0));
        assert_eq!(window.live(|_| false)[0].items, 0);
        assert_eq!(window.seconds(), 10.0);
    }

    #[test]
    fn the_rate_of_a_slow_stage_does_not_jump_with_each_item() {
        // An item comes every four seconds. Over two seconds the rate would be 0 or 0.5.
        let mut window = Window::new();
        for second in 0..200 {
            window.push(reading(second, u64::from(second / 4)));
            let rate = window.live(|_| true)[0].rate;
            assert!(second < 40 || (rate - 0.25).abs() <= 0.05, "{rate} after {second} seconds");
        }
        assert!(window.readings.len() <= 62, "{} readings are kept", window.readings.len());
    }

    #[test]
    fn nothing_read_is_nothing_shown() {
        assert!(Window::new().live(|_| true).is_empty());
    }
}
