//! What the caller of a run provides.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::totals::Earlier;
use super::trace::TraceLimits;
use crate::edge::meter::StageMeter;
use crate::edge::stop::StopToken;
use crate::stage::context::{Observer, Resources, Silent};

/// What the caller of a run provides.
#[derive(Clone)]
pub struct RunOptions {
    /// The directory that the run writes to. With `None` only those stages write whose keys name a file.
    pub run_dir: Option<PathBuf>,
    /// This process's number among those that run the graph together, less than `ranks`.
    pub rank: usize,
    /// How many processes run the graph together; 1 for a run that is not distributed.
    pub ranks: usize,
    /// The resolved graph as text, for checkpoints.
    pub resolved_text: Arc<str>,
    /// The values that the caller hands to stages.
    pub resources: Arc<Resources>,
    /// The receiver of messages.
    pub observer: Arc<dyn Observer>,
    /// The token by which the caller stops the run.
    pub stop: StopToken,
    /// The meter of the stage inside which the run goes on, for a run inside another. That stage counts as alive as
    /// long as something moves in this run.
    pub inside: Option<Arc<StageMeter>>,
    /// What earlier runs of the same graph came to, where a graph is run again and again. The totals that are published
    /// count on from it.
    pub earlier: Arc<Earlier>,
    /// The time that stages have to end when the run is stopped. A stage that takes longer is left behind, as one that hangs is
    /// after a stall. With `None` the run waits for all of them.
    pub patience: Option<Duration>,
    /// The most that the trace of the run holds. With `None` the run is not traced.
    pub trace: Option<TraceLimits>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            run_dir: None,
            rank: 0,
            ranks: 1,
            resolved_text: Arc::from(""),
            resources: Arc::default(),
            observer: Arc::new(Silent),
            stop: StopToken::new(),
            inside: None,
            earlier: Arc::default(),
            patience: None,
            trace: None,
        }
    }
}
