//! The live display: a line for each stage, redrawn in place.

use std::sync::Arc;

use console::{Term, truncate_str};
use framewise_pipeline::engine::diagnosis::Bottleneck;
use framewise_pipeline::engine::monitor::Monitor;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::journal::Journal;
use super::ranks::Board;
use super::stage_line::{Columns, rates};
use super::window::Window;
use crate::terminal::{LineSink, printable};
use crate::text::{count, percent, plural, seconds, wrap};

/// The most redraws a second. It is above the rate of ticks, so that each tick is drawn.
const HERTZ: u8 = 20;
/// The longest time left that is told, in seconds: a hundred days. Nobody has more use for a longer one.
const LONGEST_LEFT: f64 = 100.0 * 24.0 * 3600.0;
/// The most lines of the head, and of the sentence on the limit.
const MOST_HEAD_LINES: usize = 3;
const MOST_LIMIT_LINES: usize = 2;

/// The display. All lines are the message of one bar, so there is one redraw for each tick, whatever the number of
/// stages.
pub(crate) struct Bars {
    bar: ProgressBar,
    journal: Arc<Journal>,
    graph: String,
    ranks: Option<Arc<Board>>,
    /// The width of the column of names.
    names: usize,
}

impl Bars {
    /// Makes a display that is not drawn yet.
    pub(crate) fn new(
        monitor: &Monitor,
        graph: &str,
        journal: &Arc<Journal>,
        ranks: Option<Arc<Board>>,
    ) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(HERTZ));
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        let names = monitor.stages().iter().map(|stage| printable(&stage.name).chars().count());
        let names = names.max().unwrap_or(0).max(5);
        Self { bar, journal: journal.clone(), graph: printable(graph).into_owned(), ranks, names }
    }

    /// Prints lines above the display.
    pub(crate) fn sink(&self) -> LineSink {
        let bar = self.bar.clone();
        Arc::new(move |line: &str| bar.println(line))
    }

    /// Redraws every line.
    pub(crate) fn draw(&self, window: &Window, monitor: &Monitor) {
        let (height, width) = Term::stderr().size();
        let (height, width) = (usize::from(height), usize::from(width));
        let bottleneck = monitor.bottleneck();
        // A mark and a space stand before the name, and two spaces behind it.
        let columns = Columns::within(width.saturating_sub(self.names + 4));
        let history = if columns.history { monitor.history() } else { Vec::new() };
        let live = window.live(|stage| monitor.sends(stage));
        let stages = live.iter().zip(monitor.stages()).enumerate().map(|(index, (live, stage))| {
            // The edge in front of the stage is the one of its main input.
            let edges = monitor.edges().iter().filter(|edge| edge.to == index);
            let queue = edges.min_by_key(|edge| edge.input_index);
            let queue = queue.map(|edge| (edge.gauge.items(), edge.gauge.limits.items));
            let limits = bottleneck.stage.as_deref() == Some(stage.name.as_str());
            let mark = if limits { "▶" } else { " " };
            let rates = rates(&history, window.seconds(), index, monitor.sends(index));
            format!(
                "{mark} {:<1$}  {2}",
                printable(&stage.name),
                self.names,
                columns.line(live, queue, &rates)
            )
        });
        let mut lines = packed(self.head(window, monitor), width, MOST_HEAD_LINES);
        lines.extend(columns.bar.then(|| self.legend(&columns)));
        let ranks = self.ranks.as_ref().and_then(|board| board.sentence());
        let mut limit = limit(&bottleneck).map_or(Vec::new(), |text| folded(&text, width));
        limit.extend(ranks.map_or(Vec::new(), |text| folded(&printable(&text), width)));
        // One line stays free, so that the terminal does not scroll.
        let room = height.saturating_sub(lines.len() + limit.len() + 1);
        lines.extend(shortened(stages.collect(), room.max(1)));
        lines.extend(limit);
        let lines = lines.iter().map(|line| truncate_str(line, width, "…")).collect::<Vec<_>>();
        self.bar.set_message(lines.join("\n"));
    }

    /// The parts of the head, such as `train  1m05s`, `63% read, 38.0s left`, `step 120, 3,600 examples, loss 0.9312`,
    /// `evaluation (step 100): gap 0.8712` and `now evaluating (3.00s)`.
    fn head(&self, window: &Window, monitor: &Monitor) -> Vec<String> {
        let mut parts = vec![format!("{}  {}", self.graph, seconds(window.seconds()))];
        parts.extend(read_so_far(window, monitor));
        let loss = self.journal.last_numbers("train").and_then(|train| train.values.get("loss").copied());
        parts.extend(done(monitor.result("steps"), monitor.result("examples"), loss));
        let evaluation = self.journal.last_numbers("evaluation");
        if let Some(evaluation) = evaluation.filter(|evaluation| !evaluation.values.is_empty()) {
            let shown = ["gap", "hit_at_1"]
                .into_iter()
                .filter_map(|name| evaluation.values.get(name).map(|value| format!("{name} {value:.4}")));
            let shown = shown.collect::<Vec<_>>().join(", ");
            parts.push(format!("evaluation (step {}): {shown}", count(evaluation.step)));
        }
        parts.extend(window.tasks().map(|(task, since)| format!("now {task} ({})", seconds(since))));
        parts
    }

    /// The line that explains the bars and the mark. It begins where the bars begin.
    fn legend(&self, columns: &Columns) -> String {
        let begin = self.names + 4 + columns.before_bar();
        format!("{:begin$}█ busy  ▒ waiting out  ░ waiting in  ▶ limits the run", "")
    }

    /// Takes the lines away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// How much a run has read, and how long the rest takes. `None` where its sources do not tell.
pub(super) fn read_so_far(window: &Window, monitor: &Monitor) -> Option<String> {
    let last = window.last()?;
    Some(read(last.share_read()?, monitor.seconds_left(last)))
}

/// A share that is read and the seconds that are left as text, such as `63% read, 38.0s left`.
fn read(share: f64, left: Option<f64>) -> String {
    let left = left.filter(|left| share < 1.0 && *left < LONGEST_LEFT);
    let left = left.map_or(String::new(), |left| format!(", {} left", seconds(left)));
    format!("{} read{left}", percent(share))
}

/// What is done, such as `step 120, 3,600 examples, loss 0.9312`. `None` where nothing is trained.
fn done(steps: Option<f64>, examples: Option<f64>, loss: Option<f64>) -> Option<String> {
    // Counts are not negative, and far below 2^63.
    let mut text = format!("step {}", count(steps? as u64));
    text += &examples.map_or(String::new(), |examples| format!(", {}", plural(examples as u64, "example")));
    text += &loss.map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    Some(text)
}

/// The parts in as few lines of this width as hold them, in their order. Parts for which there is no room are left out.
fn packed(parts: Vec<String>, width: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 2 + part.chars().count() <= width => {
                *line += "  ";
                *line += &part;
            }
            _ => lines.push(part),
        }
    }
    lines.truncate(most);
    lines
}

/// A text in lines of this width, of which all but the first are indented. If there are too many, the last one is cut where it is drawn.
fn folded(text: &str, width: usize) -> Vec<String> {
    let wrapped = wrap(text, width.max(1), 2);
    let mut lines: Vec<String> = wrapped.lines().map(str::to_owned).collect();
    if let Some(first) = lines.first_mut() {
        *first = first.trim_start().to_owned();
    }
    if lines.len() > MOST_LIMIT_LINES {
        let rest = lines.split_off(MOST_LIMIT_LINES - 1);
        let rest: Vec<&str> = rest.iter().map(|line| line.trim_start()).collect();
        lines.push(format!("  {}", rest.join(" ")));
    }
    lines
}

/// As many of the lines as there is room for, the last of which then says how many are missing.
fn shortened(mut lines: Vec<String>, room: usize) -> Vec<String> {
    if lines.len() > room {
        let shown = room.saturating_sub(1);
        let missing = lines.len() - shown;
        lines.truncate(shown);
        lines.push(format!("  … {missing} more"));
    }
    lines
}

/// The line about the limit, once the readings tell it.
fn limit(bottleneck: &Bottleneck) -> Option<String> {
    let stage = bottleneck.stage.as_ref()?;
    let reason = bottleneck.reason.as_str().replace('_', " ");
    Some(printable(&format!("▶ {stage} {reason}: {}", bottleneck.advice)).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_tells_what_is_read_and_done() {
        assert_eq!(read(0.634, Some(38.0)), "63% read, 38.0s left");
        assert_eq!(read(0.0, None), "0% read");
        assert_eq!(read(1.0, Some(0.0)), "100% read");
        assert_eq!(read(0.01, Some(1e12)), "1% read");
        assert_eq!(
            done(Some(1200.0), Some(36_000.0), Some(0.5)).unwrap(),
            "step 1,200, 36,000 examples, loss 0.5000"
        );
        assert_eq!(done(Some(1.0), Some(1.0), None).unwrap(), "step 1, 1 example");
        assert_eq!(done(None, Some(1.0), Some(0.5)), None);
    }

    #[test]
    fn the_head_has_as_many_lines_as_the_width_asks_for() {
        let parts = || ["graph  5.00s", "12% read", "step 7, loss 1.0"].map(str::to_owned).to_vec();
        assert_eq!(packed(parts(), 80, 3), ["graph  5.00s  12% read  step 7, loss 1.0"]);
        assert_eq!(packed(parts(), 22, 3), ["graph  5.00s  12% read", "step 7, loss 1.0"]);
        assert_eq!(packed(parts(), 10, 2), ["graph  5.00s", "12% read"]);
    }

    #[test]
    fn a_long_sentence_has_two_lines() {
        let text = "▶ decode computes: set `workers = 2` in [stages.decode]";
        assert_eq!(folded(text, 80), [text]);
        let lines = folded(text, 20);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].chars().count() <= 20, "{lines:?}");
        let all = lines.join(" ");
        assert_eq!(all.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn stages_for_which_there_is_no_room_are_counted() {
        let lines = |n: usize| (0..n).map(|line| line.to_string()).collect::<Vec<_>>();
        assert_eq!(shortened(lines(4), 4), lines(4));
        assert_eq!(shortened(lines(5), 4), ["0", "1", "2", "  … 2 more"]);
        assert_eq!(shortened(lines(5), 1), ["  … 5 more"]);
    }
}
