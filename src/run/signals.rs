//! Ctrl-C, SIGTERM and SIGHUP.
//!
//! Law: the first one ends a run in the best order it has, the second at once, the third leaves without waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

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

/// Set when the run is over and the program only prints.
static RELEASED: AtomicBool = AtomicBool::new(false);

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
    let (stop, journal, count) = (stop.clone(), journal.clone(), AtomicU32::new(0));
    ctrlc::set_handler(move || {
        if RELEASED.load(Ordering::SeqCst) {
            std::process::exit(exit::INTERRUPTED.into());
        }
        match (count.fetch_add(1, Ordering::SeqCst), ending) {
            (0, Ending::AfterStep { checkpoint }) => {
                stop.request_finish();
                let and = if checkpoint { " and writing a checkpoint" } else { "" };
                let text = format!("finishing the step in hand{and}; press Ctrl-C again to stop at once");
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
    })
    .context("the system refuses a signal handler")
}

/// The run is over: from now on a signal ends the program at once.
pub(crate) fn release() {
    RELEASED.store(true, Ordering::SeqCst);
}
