//! What a running graph shows: its messages and its progress. On a terminal, progress is a live line for each stage.
//! Elsewhere it is a plain line now and then.
//!
//! Law: the display only reads meters, so the run is the same with and without it.

pub(crate) mod journal;
pub(crate) mod packets;
pub(crate) mod ranks;
pub(crate) mod recent;
pub(crate) mod stage_line;
pub(crate) mod stage_table;
pub(crate) mod trace;
pub(crate) mod view;
pub(crate) mod window;

mod bars;
mod lines;
mod told;

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use framewise_pipeline::engine::monitor::Monitor;

use crate::terminal::PROGRESS_THREAD;
use bars::Bars;
use journal::Journal;
use lines::Lines;
use ranks::Board;
use window::Window;

/// The time between two readings of the meters, at which the live display is redrawn.
const TICK: Duration = Duration::from_millis(200);

/// The way in which progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A live line for each stage.
    Bars,
    /// A plain line every ten seconds.
    Lines,
    /// Progress is not shown.
    Off,
}

/// A running display.
pub(crate) struct Dashboard {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
    journal: Arc<Journal>,
}

enum View {
    Bars(Bars),
    Lines(Lines),
}

impl Dashboard {
    /// Shows the readings of `monitor`, and what `ranks` says, from now on. If there is no thread for this, progress is not shown.
    pub(crate) fn start(
        monitor: Monitor,
        graph: &str,
        journal: &Arc<Journal>,
        ranks: Option<Arc<Board>>,
        style: Style,
    ) -> Self {
        let view = match style {
            Style::Off => return Self { thread: None, journal: journal.clone() },
            Style::Bars => {
                let bars = Bars::new(&monitor, graph, journal, ranks);
                journal.redirect(Some(bars.sink()));
                View::Bars(bars)
            }
            Style::Lines => View::Lines(Lines::new(journal.clone(), ranks)),
        };
        let (end, ended) = mpsc::channel();
        let builder = thread::Builder::new().name(PROGRESS_THREAD.into());
        let thread = builder.spawn(move || {
            let mut window = Window::new();
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                window.push(monitor.read());
                match &view {
                    View::Bars(bars) => bars.draw(&window, &monitor),
                    View::Lines(lines) => lines.draw(&window, &monitor),
                }
            }
            if let View::Bars(bars) = view {
                bars.clear();
            }
        });
        Self { thread: thread.ok().map(|handle| (end, handle)), journal: journal.clone() }
    }

    /// Takes the display away.
    pub(crate) fn finish(self) {
        if let Some((end, handle)) = self.thread {
            drop(end);
            // If the display panicked, the panic hook has reported it. The run is not touched by it.
            let _ = handle.join();
        }
        self.journal.redirect(None);
    }
}
