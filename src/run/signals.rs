//! Ctrl-C, SIGTERM and SIGHUP.
//!
//! Laws: the first Ctrl-C or SIGTERM ends a run in the best order it has, the second at once, the third leaves without
//! waiting. SIGHUP, which a terminal that goes away sends, ends nothing.

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
    let mut asked = Asked { stop: stop.clone(), journal: journal.clone(), ending, times: 0 };
    let journal = journal.clone();
    handle(move |signal| match signal {
        Signal::End => asked.again(),
        Signal::HangUp => {
            journal.note(Level::Warning, "the terminal has gone away (SIGHUP); the run goes on")
        }
    })
    .context("the system refuses a signal handler")
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    End,
    #[cfg_attr(not(unix), allow(dead_code, reason = "only Unix has it"))]
    HangUp,
}

/// Calls `on_signal` for each signal, one at a time, on a thread of its own.
#[cfg(unix)]
fn handle(mut on_signal: impl FnMut(Signal) + Send + 'static) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let each = move || {
        for signal in signals.forever() {
            on_signal(if signal == SIGHUP { Signal::HangUp } else { Signal::End });
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(each)?;
    Ok(())
}

/// Calls `on_signal` for each Ctrl-C.
#[cfg(not(unix))]
fn handle(mut on_signal: impl FnMut(Signal) + Send + 'static) -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(move || on_signal(Signal::End))?)
}

/// How often an end was asked for.
struct Asked {
    stop: StopToken,
    journal: Arc<Journal>,
    ending: Ending,
    times: u32,
}

impl Asked {
    fn again(&mut self) {
        let released = RELEASED.lock().unwrap_or_else(PoisonError::into_inner);
        if *released {
            std::process::exit(exit::INTERRUPTED.into());
        }
        let Self { stop, journal, ending, times } = self;
        *times += 1;
        match (*times, *ending) {
            (1, Ending::AfterStep { checkpoint }) => {
                let and = if checkpoint { " and writing a checkpoint" } else { "" };
                let text = format!("finishing the step in hand{and}; press Ctrl-C again to stop at once");
                stop.request_finish();
                journal.note(Level::Warning, &text);
            }
            (1, Ending::AtOnce) | (2, Ending::AfterStep { .. }) => {
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
