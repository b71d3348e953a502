//! The display of progress where there is no terminal: a plain line every ten seconds.

use std::cell::Cell;
use std::sync::Arc;

use framewise_pipeline::engine::monitor::Monitor;

use super::bars;
use super::journal::Journal;
use super::ranks::Board;
use super::window::{Live, Window};
use crate::terminal::printable;
use crate::text::{count, percent, rate, seconds};

/// The seconds from one line to the next.
const EVERY: f64 = 10.0;

/// The writer of the lines.
pub(crate) struct Lines {
    journal: Arc<Journal>,
    ranks: Option<Arc<Board>>,
    next: Cell<f64>,
}

impl Lines {
    /// Makes the writer. The first line comes after ten seconds.
    pub(crate) fn new(journal: Arc<Journal>, ranks: Option<Arc<Board>>) -> Self {
        Self { journal, ranks, next: Cell::new(EVERY) }
    }

    /// Writes a line if it is time.
    pub(crate) fn draw(&self, window: &Window, monitor: &Monitor) {
        if window.seconds() < self.next.get() {
            return;
        }
        self.next.set(window.seconds() + EVERY);
        let names: Vec<_> = monitor.stages().iter().map(|stage| stage.name.as_str()).collect();
        let fed = |stage: usize| monitor.edges().iter().any(|edge| edge.to == stage);
        if let Some(text) = progress(&names, &window.live(|stage| monitor.sends(stage)), fed) {
            let read = bars::read_so_far(window, monitor).map_or(String::new(), |read| format!("{read}: "));
            let ranks = self.ranks.as_ref().and_then(|board| board.sentence());
            let ranks = ranks.map_or(String::new(), |text| format!("; {text}"));
            let now = seconds(self.journal.seconds());
            self.journal.show(&printable(&format!("{now} {read}{text}{ranks}")));
        }
    }
}

/// The text of a line, such as `videos 12,000 (400/s), forward 75 (2.50/s, busy 97%)`: the sources that still run, and
/// the busiest stage.
fn progress(names: &[&str], live: &[Live], fed: impl Fn(usize) -> bool) -> Option<String> {
    let busiest =
        (0..live.len()).filter(|i| !live[*i].done).max_by(|a, b| live[*a].busy.total_cmp(&live[*b].busy))?;
    let sources = (0..live.len()).filter(|i| !fed(*i) && !live[*i].done && *i != busiest);
    let item = |i: usize| format!("{} {} ({}/s", names[i], count(live[i].items), rate(live[i].rate));
    let mut parts: Vec<_> = sources.map(|i| item(i) + ")").collect();
    parts.push(format!("{}, busy {})", item(busiest), percent(live[busiest].busy)));
    Some(parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_and_the_busiest_stage_are_named() {
        let live = [
            Live { items: 12_000, rate: 400.0, busy: 0.1, ..Live::default() },
            Live { items: 75, rate: 2.5, busy: 0.97, ..Live::default() },
            Live { items: 75, rate: 2.5, busy: 0.01, ..Live::default() },
        ];
        let names = ["videos", "forward", "report"];
        let text = progress(&names, &live, |i| i > 0);
        assert_eq!(text.as_deref(), Some("videos 12,000 (400/s), forward 75 (2.50/s, busy 97%)"));
        let done = live.map(|live| Live { done: true, ..live });
        assert_eq!(progress(&names, &done, |i| i > 0), None);
    }
}
