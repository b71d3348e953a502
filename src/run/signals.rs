//! Ctrl-C, SIGTERM and SIGHUP.
//!
//! Laws: the first Ctrl-C or SIGTERM ends a run in the best order it has, the second at once, the third leaves without
//! waiting. SIGHUP, which a terminal that goes away sends, ends nothing.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use framewise_pipeline::context::Level;
use framewise_pipeline::graph::ResolvedGraph;
use framewise_pipeline::{Registry, StopToken};

use super::journal::Journal;
use crate::exit;

/// How a run can end in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It trains: it can end after the step in hand, with a checkpoint if it writes any.
    AfterStep { checkpoint: bool },
    /// It cannot: its outputs are whole or not there.
    AtOnce,
}

/// Whether the run is over and the program only prints. Held while a signal is answered, so that a run that ends by
/// it waits until that is told.
static RELEASED: Mutex<bool> = Mutex::new(false);

impl Ending {
    /// How this graph can end.
    pub(crate) fn of(graph: &ResolvedGraph, registry: &Registry) -> Self {
        let trains = graph.stages.iter().any(|stage| {
            let finishes = registry.get(&stage.type_name).is_some_and(|c| c.finishes_on_request());
            finishes && stage.settings.text("mode") != "evaluate"
        });
        let checkpoint = graph.stages.iter().any(|stage| stage.type_name == "checkpoint");
        if trains { Ending::AfterStep { checkpoint } } else { Ending::AtOnce }
    }
}

/// Listens until the program ends.
///
/// # Errors
/// The system refuses a handler.
pub(crate) fn listen(stop: &StopToken, journal: &Arc<Journal>, ending: Ending) -> anyhow::Result<()> {
    let asked = Asked { stop: stop.clone(), journal: journal.clone(), ending, times: AtomicU32::new(0) };
    let (asked, journal) = (Arc::new(asked), journal.clone());
    #[cfg(unix)]
    on_unix(asked.clone(), journal)?;
    #[cfg(not(unix))]
    drop(journal);
    ctrlc::set_handler(move || asked.again()).context("the system refuses a signal handler")
}

/// Answers the signals besides Ctrl-C, on a thread of its own.
#[cfg(unix)]
fn on_unix(asked: Arc<Asked>, journal: Arc<Journal>) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGHUP])?;
    let answer = move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                journal.note(Level::Warning, "the terminal has gone away (SIGHUP); the run goes on");
            } else {
                asked.again();
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(answer)?;
    Ok(())
}

/// How often an end was asked for.
struct Asked {
    stop: StopToken,
    journal: Arc<Journal>,
    ending: Ending,
    times: AtomicU32,
}

impl Asked {
    fn again(&self) {
        // Held to the end: one signal is answered at a time.
        let released = RELEASED.lock().unwrap_or_else(PoisonError::into_inner);
        if *released {
            std::process::exit(exit::INTERRUPTED.into());
        }
        let Self { stop, journal, ending, times } = self;
        match (times.fetch_add(1, Ordering::SeqCst), *ending) {
            (0, Ending::AfterStep { checkpoint }) => {
                let and = if checkpoint { " and writing a checkpoint" } else { "" };
                let text = format!("finishing the step in hand{and}; press Ctrl-C again to stop at once");
                stop.request_finish();
                journal.note(Level::Warning, &text);
            }
            (0, Ending::AtOnce) | (1, Ending::AfterStep { .. }) => {
                stop.trip();
                journal.note(Level::Warning, "stopping; press Ctrl-C again to leave without waiting");
            }
            _ => {
                journal.redirect(None);
                std::process::exit(exit::INTERRUPTED.into());
            }
        }
    }
}

/// The run is over: from now on a signal ends the program at once.
pub(crate) fn release() {
    *RELEASED.lock().unwrap_or_else(PoisonError::into_inner) = true;
}
