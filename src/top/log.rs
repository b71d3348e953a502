//! The messages of a run, as `/api/log` tells them.

use serde::Deserialize;

/// The answer to `/api/log`.
#[derive(Debug, Deserialize)]
pub(super) struct LogView {
    pub(super) lines: Vec<Message>,
}

/// A message of a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Message {
    /// Seconds since the run began.
    pub(super) seconds: f64,
    pub(super) level: String,
    /// The stage that said it; `None` for the run itself.
    pub(super) stage: Option<String>,
    pub(super) text: String,
}
