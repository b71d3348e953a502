//! Rates and shares over the last two seconds, from readings that only ever grow.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use framewise_pipeline::meter::StageReading;
use framewise_pipeline::monitor::Monitor;

/// How far back rates look.
const SPAN: Duration = Duration::from_secs(2);

/// The readings of the last two seconds.
#[derive(Debug)]
pub(crate) struct Window {
    start: Instant,
    readings: VecDeque<(Instant, Vec<StageReading>)>,
}

/// What a stage does at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Live {
    /// Items so far: sent, or received by a stage that sends none.
    pub(crate) items: u64,
    /// Items per second.
    pub(crate) rate: f64,
    /// Shares of the time, 0 to 1.
    pub(crate) busy: f64,
    /// Waiting for input.
    pub(crate) input_wait: f64,
    /// Waiting for room in an output.
    pub(crate) output_wait: f64,
    /// Its thread has ended.
    pub(crate) done: bool,
}

impl Window {
    /// An empty window.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), readings: VecDeque::new() }
    }

    /// Seconds since the first reading could be taken.
    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Reads all meters.
    pub(crate) fn read(&mut self, monitor: &Monitor) {
        let now = Instant::now();
        self.push(now, monitor.stages().iter().map(|stage| stage.meter.read()).collect());
    }

    fn push(&mut self, now: Instant, readings: Vec<StageReading>) {
        self.readings.push_back((now, readings));
        // Two readings at least: a rate needs a difference.
        while self.readings.len() > 2 && now.duration_since(self.readings[1].0) >= SPAN {
            self.readings.pop_front();
        }
    }

    /// What each stage does; `sends` tells which of them have consumers.
    pub(crate) fn live(&self, sends: impl Fn(usize) -> bool) -> Vec<Live> {
        let Some((end, last)) = self.readings.back() else { return Vec::new() };
        let (begin, first) = match self.readings.front() {
            Some((begin, first)) if begin < end => (*begin, Some(first)),
            _ => (self.start, None),
        };
        let seconds = end.duration_since(begin).as_secs_f64();
        let nothing = StageReading::default();
        let stages = last.iter().enumerate();
        stages
            .map(|(index, now)| {
                let before = first.and_then(|first| first.get(index)).unwrap_or(&nothing);
                live(before, now, sends(index), seconds)
            })
            .collect()
    }
}

fn live(before: &StageReading, now: &StageReading, sends: bool, seconds: f64) -> Live {
    let items = |reading: &StageReading| if sends { reading.items_out } else { reading.items_in };
    let wall = now.wall() - before.wall();
    let share =
        |now: f64, before: f64| if wall > 0.0 { ((now - before) / wall).clamp(0.0, 1.0) } else { 0.0 };
    let new = items(now).saturating_sub(items(before));
    Live {
        items: items(now),
        rate: if seconds > 0.0 { new as f64 / seconds } else { 0.0 },
        busy: share(now.busy, before.busy),
        input_wait: share(now.input_wait, before.input_wait),
        output_wait: share(now.output_wait, before.output_wait),
        done: now.done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_shares_are_those_of_the_last_two_seconds() {
        let mut window = Window::new();
        let begin = window.start;
        for second in 0..=10u32 {
            let reading = StageReading {
                // One item a second at first, ten a second from the eighth second on.
                items_out: u64::from(if second <= 8 { second } else { 8 + 10 * (second - 8) }),
                busy: f64::from(second) * 0.75,
                input_wait: f64::from(second) * 0.25,
                ..StageReading::default()
            };
            window.push(begin + Duration::from_secs(second.into()), vec![reading]);
        }
        let live = window.live(|_| true)[0];
        assert_eq!((live.items, live.rate), (28, 10.0));
        assert_eq!((live.busy, live.input_wait, live.output_wait), (0.75, 0.25, 0.0));
        assert_eq!(window.live(|_| false)[0].items, 0);
    }

    #[test]
    fn nothing_read_is_nothing_shown() {
        assert!(Window::new().live(|_| true).is_empty());
    }
}
