//! The live display: a line per stage, redrawn in place.

use std::sync::Arc;

use console::{Term, truncate_str};
use framewise_pipeline::monitor::Monitor;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::window::{Live, Window};
use crate::terminal::{LineSink, printable};
use crate::text::{count, percent, rate, seconds};

/// Characters of a stage's bar.
const WIDTH: usize = 20;
/// Redraws a second at most; above the rate of ticks, so that each tick is drawn.
const HERTZ: u8 = 20;

/// All lines are one bar's message: one redraw a tick, whatever the number of stages.
pub(crate) struct Bars {
    bar: ProgressBar,
    graph: String,
    /// Width of the column of names.
    names: usize,
}

impl Bars {
    /// A display that is not drawn yet.
    pub(crate) fn new(monitor: &Monitor, graph: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(HERTZ));
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        let names = monitor.stages().iter().map(|stage| printable(&stage.name).chars().count());
        Self { bar, graph: printable(graph).into_owned(), names: names.max().unwrap_or(0).max(5) }
    }

    /// Prints lines above the display.
    pub(crate) fn sink(&self) -> LineSink {
        let bar = self.bar.clone();
        Arc::new(move |line: &str| bar.println(line))
    }

    /// Redraws every line.
    pub(crate) fn draw(&self, window: &Window, monitor: &Monitor) {
        let names = self.names;
        let head = format!("{}  {}", self.graph, seconds(window.seconds()));
        // The legend begins where the bars do.
        let mut lines = vec![format!("{head:<0$}  █ busy  ▒ waiting out  ░ waiting in", names + 26)];
        let live = window.live(|stage| monitor.edges().iter().any(|edge| edge.from == stage));
        for (index, (live, stage)) in live.iter().zip(monitor.stages()).enumerate() {
            // The edge in front: the one of the main input.
            let edges = monitor.edges().iter().filter(|edge| edge.to == index);
            let queue = edges.min_by_key(|edge| edge.input_index);
            let queue = queue.map(|edge| (edge.gauge.items(), edge.gauge.limits.items));
            lines.push(format!("{:<names$}  {}", printable(&stage.name), stage_line(live, queue)));
        }
        let (_, width) = Term::stderr().size();
        let lines = lines.iter().map(|line| truncate_str(line, width.into(), "")).collect::<Vec<_>>();
        self.bar.set_message(lines.join("\n"));
    }

    /// Takes the lines away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// `     1,234    56.7/s  ██████████████▒▒░░░░  72% busy  queue 3/64`
fn stage_line(live: &Live, queue: Option<(usize, usize)>) -> String {
    let items = count(live.items);
    if live.done {
        return format!("{items:>11}  done");
    }
    let mut line =
        format!("{items:>11}  {:>9}/s  {}  {:>4} busy", rate(live.rate), bar(live), percent(live.busy));
    if let Some((depth, capacity)) = queue {
        line += &format!("  queue {depth}/{capacity}");
    }
    line
}

/// The three shares as a bar.
fn bar(live: &Live) -> String {
    let cells = |share: f64| (share * WIDTH as f64).round() as usize;
    let busy = cells(live.busy).min(WIDTH);
    let output = cells(live.busy + live.output_wait).min(WIDTH) - busy;
    let input = cells(live.busy + live.output_wait + live.input_wait).min(WIDTH) - busy - output;
    let rest = WIDTH - busy - output - input;
    format!("{}{}{}{}", "█".repeat(busy), "▒".repeat(output), "░".repeat(input), " ".repeat(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_all_three_shares() {
        let live =
            Live { items: 1234, rate: 56.7, busy: 0.72, input_wait: 0.2, output_wait: 0.08, done: false };
        assert_eq!(
            stage_line(&live, Some((3, 64))),
            "      1,234       56.7/s  ██████████████▒▒░░░░   72% busy  queue 3/64"
        );
        let done = Live { done: true, ..live };
        assert_eq!(stage_line(&done, Some((0, 64))), "      1,234  done");
    }

    #[test]
    fn a_bar_always_has_its_width() {
        for (busy, input_wait) in [(0.0, 0.0), (1.0, 0.0), (0.34, 0.66), (0.333, 0.333), (1.0, 1.0)] {
            let live = Live { busy, input_wait, output_wait: 0.1, ..Live::default() };
            assert_eq!(bar(&live).chars().count(), WIDTH);
        }
    }
}
