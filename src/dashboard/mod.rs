//! Progress of a running graph: a live line per stage on a terminal, a plain line now and then elsewhere.
//!
//! Law: the display only reads meters; the run is the same with and without it.

mod bars;
mod lines;
mod window;

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use framewise_pipeline::monitor::Monitor;

use crate::run::journal::Journal;
use crate::terminal::PROGRESS_THREAD;
use bars::Bars;
use lines::Lines;
use window::Window;

/// How often meters are read, and the live display redrawn.
const TICK: Duration = Duration::from_millis(200);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A live line per stage.
    Bars,
    /// A plain line every ten seconds.
    Lines,
    /// Not at all.
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
    /// Shows the readings of `monitor` from now on. Without a thread for it the run is only less visible.
    pub(crate) fn start(monitor: Monitor, graph: &str, journal: &Arc<Journal>, style: Style) -> Self {
        let view = match style {
            Style::Off => return Self { thread: None, journal: journal.clone() },
            Style::Bars => {
                let bars = Bars::new(&monitor, graph);
                journal.redirect(Some(bars.sink()));
                View::Bars(bars)
            }
            Style::Lines => View::Lines(Lines::new(journal.clone())),
        };
        let (end, ended) = mpsc::channel();
        let builder = thread::Builder::new().name(PROGRESS_THREAD.into());
        let thread = builder.spawn(move || {
            let mut window = Window::new();
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                window.read(&monitor);
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
            // If the display panicked, the hook has told; the run is not touched by it.
            let _ = handle.join();
        }
        self.journal.redirect(None);
    }
}
