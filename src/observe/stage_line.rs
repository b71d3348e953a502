//! The line of a stage in the live display: its figures, in as many columns as there is room for.

use std::sync::Arc;

use framewise_pipeline::engine::reading::Reading;

use super::window::Live;
use crate::text::{count, percent, rate};

/// The number of characters of a stage's bar.
const BAR: usize = 20;
/// The number of characters of the history of a stage's rate.
const HISTORY: usize = 16;
/// The heights of a character of a history.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The widths of the columns, each with the two spaces before it. The first one has none before it.
const RATE_WIDTH: usize = 11;
const BUSY_WIDTH: usize = 11;
const ITEMS_WIDTH: usize = 13;
const BAR_WIDTH: usize = BAR + 2;
const QUEUE_WIDTH: usize = 19;
const WAITS_WIDTH: usize = 20;
const HISTORY_WIDTH: usize = HISTORY + 2;

/// The columns that are shown. The rate and the busy share always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Columns {
    /// The items so far.
    pub(crate) items: bool,
    /// The shares of the stage's time as a bar.
    pub(crate) bar: bool,
    /// The depth of the edge in front of the stage, and its capacity.
    pub(crate) queue: bool,
    /// The shares of waiting, as numbers.
    pub(crate) waits: bool,
    /// The rate from the beginning of the run to now.
    pub(crate) history: bool,
}

impl Columns {
    /// As many columns as fit into this many characters. The least important ones are left out first.
    pub(crate) fn within(room: usize) -> Self {
        let mut left = room.saturating_sub(RATE_WIDTH + BUSY_WIDTH);
        let mut take = |width: usize| {
            let fits = left >= width;
            // A column that does not fit ends the line: a less important one must not stand in its place.
            left = if fits { left - width } else { 0 };
            fits
        };
        Self {
            items: take(ITEMS_WIDTH),
            bar: take(BAR_WIDTH),
            queue: take(QUEUE_WIDTH),
            waits: take(WAITS_WIDTH),
            history: take(HISTORY_WIDTH),
        }
    }

    /// The number of characters before the bar.
    pub(crate) fn before_bar(&self) -> usize {
        RATE_WIDTH + 2 + if self.items { ITEMS_WIDTH } else { 0 }
    }

    /// The line of a stage, such as `1,234       56.7/s  ██████████████▒▒░░░░   72% busy  queue 3/64`. `rates` is the
    /// history of its rate.
    pub(crate) fn line(&self, live: &Live, queue: Option<(usize, usize)>, rates: &[f64]) -> String {
        let mut line = String::new();
        if self.items || live.done {
            line += &format!("{:>1$}  ", count(live.items), ITEMS_WIDTH - 2);
        }
        if live.done {
            return line + "done";
        }
        line += &format!("{:>1$}/s", rate(live.rate), RATE_WIDTH - 2);
        if self.bar {
            line += &format!("  {}", bar(live));
        }
        line += &format!("  {:>4} busy", percent(live.busy));
        if self.waits {
            line += &format!("  {:>4} in  {:>4} out", percent(live.input_wait), percent(live.output_wait));
        }
        if self.queue {
            let queue = queue.map_or(String::new(), |(depth, capacity)| format!("queue {depth}/{capacity}"));
            line += &format!("  {queue:<0$}", QUEUE_WIDTH - 2);
        }
        if self.history {
            line += &format!("  {}", heights(rates));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The three shares of a stage's time, as a bar.
pub(crate) fn bar(live: &Live) -> String {
    let cells = |share: f64| (share * BAR as f64).round() as usize;
    let busy = cells(live.busy).min(BAR);
    let output = cells(live.busy + live.output_wait).min(BAR) - busy;
    let input = cells(live.busy + live.output_wait + live.input_wait).min(BAR) - busy - output;
    let rest = BAR - busy - output - input;
    format!("{}{}{}{}", "█".repeat(busy), "▒".repeat(output), "░".repeat(input), " ".repeat(rest))
}

/// The rates of a stage in the equal parts into which the run up to `seconds` falls, in items a second. `history` has the
/// readings from the beginning of the run; `sends` says whether the stage has consumers. Empty before there is a reading
/// for each part.
pub(crate) fn rates(history: &[Arc<Reading>], seconds: f64, stage: usize, sends: bool) -> Vec<f64> {
    if history.len() <= HISTORY {
        return Vec::new();
    }
    let items = |reading: &Reading| reading.stages[stage].passed(sends);
    let at = |part: usize| {
        let end = seconds * part as f64 / HISTORY as f64;
        &history[history.partition_point(|reading| reading.seconds < end).min(history.len() - 1)]
    };
    let rate = |part: usize| {
        let (before, after) = (at(part), at(part + 1));
        let time = after.seconds - before.seconds;
        if time > 0.0 { (items(after) - items(before)) as f64 / time } else { 0.0 }
    };
    (0..HISTORY).map(rate).collect()
}

/// Rates as characters of different heights. The highest one is as high as a character can be.
fn heights(rates: &[f64]) -> String {
    let highest = rates.iter().copied().fold(0.0, f64::max);
    let height = |rate: &f64| {
        let share = if highest > 0.0 { rate / highest } else { 0.0 };
        HEIGHTS[((share * HEIGHTS.len() as f64) as usize).min(HEIGHTS.len() - 1)]
    };
    rates.iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use framewise_pipeline::edge::meter::StageReading;

    use super::*;

    fn live() -> Live {
        Live { items: 1234, rate: 56.7, busy: 0.72, input_wait: 0.2, output_wait: 0.08, done: false }
    }

    #[test]
    fn a_line_has_as_many_columns_as_fit() {
        let rates = [[1.0; 8], [8.0; 8]].concat();
        let at = |room: usize| Columns::within(room).line(&live(), Some((3, 64)), &rates);
        assert_eq!(at(20), "     56.7/s   72% busy");
        assert_eq!(at(35), "      1,234       56.7/s   72% busy");
        assert_eq!(at(57), "      1,234       56.7/s  ██████████████▒▒░░░░   72% busy");
        assert_eq!(at(80), "      1,234       56.7/s  ██████████████▒▒░░░░   72% busy  queue 3/64");
        assert_eq!(
            at(200),
            "      1,234       56.7/s  ██████████████▒▒░░░░   72% busy   20% in    8% out  queue 3/64         ▂▂▂▂▂▂▂▂████████"
        );
        for room in 22..200 {
            assert!(at(room).chars().count() <= room, "{room}");
        }
        let done = Live { done: true, ..live() };
        assert_eq!(Columns::within(80).line(&done, Some((0, 64)), &rates), "      1,234  done");
    }

    #[test]
    fn a_bar_always_has_its_width() {
        for (busy, input_wait) in [(0.0, 0.0), (1.0, 0.0), (0.34, 0.66), (0.333, 0.333), (1.0, 1.0)] {
            let live = Live { busy, input_wait, output_wait: 0.1, ..Live::default() };
            assert_eq!(bar(&live).chars().count(), BAR);
        }
    }

    #[test]
    fn a_history_has_the_rates_of_equal_parts_of_the_run() {
        // Nothing comes in the first half of 160 seconds, and two items a second in the second half.
        let reading = |second: u32| {
            let items_out = u64::from(second.saturating_sub(80)) * 2;
            let stages = vec![StageReading { items_out, ..StageReading::default() }];
            let (states, edges, units) = (Vec::new(), Vec::new(), Vec::new());
            Arc::new(Reading {
                seconds: second.into(),
                cpu: None,
                queued: None,
                stages,
                states,
                edges,
                units,
            })
        };
        let history: Vec<_> = (0..=160).map(reading).collect();
        assert_eq!(rates(&history, 160.0, 0, true), [[0.0; 8], [2.0; 8]].concat());
        assert_eq!(rates(&history, 160.0, 0, false), [0.0; 16], "nothing was received");
        assert_eq!(rates(&history[..16], 15.0, 0, true), [] as [f64; 0], "too early");
        assert_eq!(heights(&[0.0, 4.0, 8.0]), "▁▅█");
    }
}
