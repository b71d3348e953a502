//! What `framewise top` shows, and what keys and news change about it.
//!
//! Law: no key and no news, in whatever order they come, lead to a state that cannot be drawn.

use std::collections::VecDeque;
use std::sync::Arc;

use framewise_pipeline::engine::reading::Reading;

use super::poll::News;
use crate::ask::log::Message;
use crate::observe::view::RunView;
use crate::observe::window::{Live, Window};

/// The most readings that are kept for the curves of a stage. At two readings a second they cover four minutes.
const READINGS: usize = 512;

/// The picture that fills the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Screen {
    #[default]
    Stages,
    /// Everything about the stage that is selected.
    Details,
    Edges,
    Log,
    Help,
}

/// What the rows of stages are sorted by, the highest value first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    /// The order of the graph, in which data flow.
    #[default]
    Graph,
    Busy,
    InputWait,
    OutputWait,
    Rate,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Sort::Graph => Sort::Busy,
            Sort::Busy => Sort::InputWait,
            Sort::InputWait => Sort::OutputWait,
            Sort::OutputWait => Sort::Rate,
            Sort::Rate => Sort::Graph,
        }
    }

    /// The order in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Sort::Graph => "order of the graph",
            Sort::Busy => "busy",
            Sort::InputWait => "waiting in",
            Sort::OutputWait => "waiting out",
            Sort::Rate => "items/s",
        }
    }
}

/// A key, without regard to the terminal that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
}

/// A moment of the run that is shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    pub(super) view: Option<RunView>,
    /// What each stage did over the last seconds, in the order of the graph.
    pub(super) live: Vec<Live>,
    /// The readings for the curves.
    pub(super) readings: Vec<Arc<Reading>>,
    pub(super) log: Vec<Message>,
}

/// The state of the display.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Where the run is asked, for the head of the screen.
    pub(super) source: String,
    pub(super) screen: Screen,
    pub(super) sort: Sort,
    /// The selected stage, as its place in the graph.
    pub(super) selected: usize,
    /// How many lines of the edges, of the log or of the help are scrolled past.
    pub(super) scroll: usize,
    /// The trouble with the last question.
    pub(super) trouble: Option<String>,
    /// How the run ended, once it has.
    pub(super) ended: Option<String>,
    now: Shown,
    /// What was shown when the user froze the screen.
    frozen: Option<Shown>,
    window: Window,
    readings: VecDeque<Arc<Reading>>,
    /// The rows that fit the screen, which is how far a page goes. The drawing sets it.
    pub(super) page: usize,
}

impl State {
    /// The state before the first answer of the run at `source`.
    pub(super) fn new(source: String) -> Self {
        Self { source, page: 1, ..Self::default() }
    }

    /// What is shown: the newest, or what the user froze.
    pub(super) fn shown(&self) -> &Shown {
        self.frozen.as_ref().unwrap_or(&self.now)
    }

    /// Whether the user froze the screen.
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// The stages in the order in which their rows stand.
    pub(super) fn order(&self) -> Vec<usize> {
        let live = &self.shown().live;
        let mut order: Vec<usize> = (0..live.len()).collect();
        let by: fn(&Live) -> f64 = match self.sort {
            Sort::Graph => return order,
            Sort::Busy => |live| live.busy,
            Sort::InputWait => |live| live.input_wait,
            Sort::OutputWait => |live| live.output_wait,
            Sort::Rate => |live| live.rate,
        };
        // Stages with the same value stay in the order of the graph.
        order.sort_by(|one, other| by(&live[*other]).total_cmp(&by(&live[*one])));
        order
    }

    /// Takes in what is new about the run.
    pub(super) fn learn(&mut self, news: News) {
        match news {
            News::History(history) => {
                for reading in history.readings() {
                    self.keep(&reading);
                }
            }
            News::Reading(view) => {
                let reading = view.reading();
                self.keep(&reading);
                self.trouble = None;
                self.now.live = self.window.live(|stage| view.sends(stage));
                self.now.readings = self.readings.iter().cloned().collect();
                self.now.view = Some(view);
            }
            News::Log(lines) => self.now.log = lines,
            News::Trouble(why) => self.trouble = Some(why),
            News::Ended(how) => {
                self.trouble = None;
                self.ended = Some(how);
            }
        }
    }

    fn keep(&mut self, reading: &Arc<Reading>) {
        if let Some(last) = self.readings.back() {
            // Readings of a history and of the present may overlap by one.
            if last.seconds >= reading.seconds && goes_on(last, reading) {
                return;
            }
            if !goes_on(last, reading) {
                (self.window, self.readings) = Default::default();
            }
        }
        self.window.push(reading.clone());
        self.readings.push_back(reading.clone());
        if self.readings.len() > READINGS {
            self.readings.pop_front();
        }
    }

    /// Does what a key says. Returns whether the display goes on.
    pub(super) fn press(&mut self, key: Key) -> bool {
        match key {
            Key::Char('q') => return false,
            Key::Escape if self.screen == Screen::Stages => return false,
            Key::Escape => self.show(Screen::Stages),
            Key::Char('t') => self.show(Screen::Stages),
            Key::Enter | Key::Char('d') if self.screen == Screen::Stages => self.show(Screen::Details),
            Key::Enter => self.show(Screen::Stages),
            Key::Char('d') => self.show(Screen::Details),
            Key::Char('e') => self.show(Screen::Edges),
            Key::Char('l') => self.show(Screen::Log),
            Key::Char('h' | '?') => self.show(Screen::Help),
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('f' | ' ') => {
                self.frozen = match self.frozen {
                    Some(_) => None,
                    None => Some(self.now.clone()),
                };
            }
            Key::Up | Key::Char('k') => self.step(-1),
            Key::Down | Key::Char('j') => self.step(1),
            Key::PageUp => self.step(-self.a_page()),
            Key::PageDown => self.step(self.a_page()),
            Key::Home | Key::Char('g') => self.step(isize::MIN),
            Key::End | Key::Char('G') => self.step(isize::MAX),
            Key::Char(_) => {}
        }
        true
    }

    fn a_page(&self) -> isize {
        isize::try_from(self.page.max(1)).unwrap_or(isize::MAX)
    }

    fn show(&mut self, screen: Screen) {
        self.screen = screen;
        self.scroll = 0;
    }

    /// Goes some rows on: to another stage where stages are shown, and elsewhere to other lines. The log counts from its
    /// end, so that the newest message stays in sight.
    fn step(&mut self, rows: isize) {
        match self.screen {
            Screen::Stages | Screen::Details => {
                let order = self.order();
                let Some(last) = order.len().checked_sub(1) else { return };
                let place = order.iter().position(|stage| *stage == self.selected).unwrap_or(0);
                self.selected = order[place.saturating_add_signed(rows).min(last)];
            }
            Screen::Log => self.scroll = self.scroll.saturating_add_signed(rows.saturating_neg()),
            Screen::Edges | Screen::Help => self.scroll = self.scroll.saturating_add_signed(rows),
        }
    }
}

/// Whether a reading may be a later one of the run of another reading, whose counts only grow. Anything may answer at an
/// address.
fn goes_on(earlier: &Reading, later: &Reading) -> bool {
    let counts = |reading: &Reading| -> Vec<[u64; 4]> {
        let stages = reading.stages.iter();
        stages.map(|stage| [stage.items_in, stage.items_out, stage.bytes_in, stage.bytes_out]).collect()
    };
    // A history tells no bytes, so these count as 0 there.
    let (before, after) = (counts(earlier), counts(later));
    before.len() == after.len()
        && before.iter().flatten().zip(after.iter().flatten()).all(|(before, after)| before <= after)
}

#[cfg(test)]
pub(super) mod tests;
