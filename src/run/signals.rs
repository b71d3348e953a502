//! The answers to Ctrl-C, SIGTERM and SIGHUP.
//!
//! Laws: the first Ctrl-C or SIGTERM ends a run in the most orderly way that the run has. The second ends it at once.
//! At the third, the program exits without waiting. SIGHUP, which a terminal that goes away sends, ends nothing.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use framewise_pipeline::graph::ResolvedGraph;
use framewise_pipeline::stage::context::Level;
use framewise_pipeline::{Registry, StopToken};

use crate::exit;
use crate::observe::journal::Journal;

/// The orderly way in which a run can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The run trains. It can end after the step in hand, with a checkpoint if it writes checkpoints.
    AfterStep { checkpoint: bool },
    /// The run has no such way. Its outputs are whole or not there.
    AtOnce,
}

/// Whether the run is over and the program only prints. The lock is held while a signal is answered, so that a run that
/// ends because of the signal waits until that is reported.
static RELEASED: Mutex<bool> = Mutex::new(false);

impl Ending {
    /// The way in which a run of this graph can end.
    pub(crate) fn of(graph: &ResolvedGraph, registry: &Registry) -> Self {
        let trains = graph.stages.iter().any(|stage| {
            registry.get(&stage.type_name).is_some_and(|c| c.finishes_on_request(&stage.settings))
        });
        let checkpoint = graph.stages.iter().any(|stage| stage.type_name == "checkpoint");
        if trains { Ending::AfterStep { checkpoint } } else { Ending::AtOnce }
    }
}

/// Listens for signals until the program ends. `live` is the file that says where the run can be watched. It is removed
/// when the program exits without waiting.
///
/// # Errors
/// The operating system refuses a handler.
pub(crate) fn listen(
    stop: &StopToken,
    journal: &Arc<Journal>,
    ending: Ending,
    live: PathBuf,
) -> anyhow::Result<()> {
    let (stop, times) = (stop.clone(), AtomicU32::new(0));
    let asked = Asked { stop, journal: journal.clone(), ending, live, times };
    let (asked, journal) = (Arc::new(asked), journal.clone());
    #[cfg(unix)]
    on_unix(asked.clone(), journal)?;
    #[cfg(not(unix))]
    drop(journal);
    ctrlc::set_handler(move || asked.again()).context("the system refuses a signal handler")
}

/// Answers the signals other than Ctrl-C, on a thread of its own.
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

/// The number of times that an end was asked for.
struct Asked {
    stop: StopToken,
    journal: Arc<Journal>,
    ending: Ending,
    live: PathBuf,
    times: AtomicU32,
}

impl Asked {
    fn again(&self) {
        // The lock is held to the end, so that one signal is answered at a time.
        let released = RELEASED.lock().unwrap_or_else(PoisonError::into_inner);
        if *released {
            std::process::exit(exit::INTERRUPTED.into());
        }
        let Self { stop, journal, ending, live, times } = self;
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
                // A run that nobody watches has no such file.
                let _ = std::fs::remove_file(live);
                std::process::exit(exit::INTERRUPTED.into());
            }
        }
    }
}

/// Notes that the run is over. From now on, a signal ends the program at once.
pub(crate) fn release() {
    *RELEASED.lock().unwrap_or_else(PoisonError::into_inner) = true;
}
