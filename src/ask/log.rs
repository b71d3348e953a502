//! The messages of a run, as `/api/log` tells them.

use serde::Deserialize;

/// The answer to `/api/log`.
#[derive(Debug, Deserialize)]
pub(crate) struct LogView {
    pub(crate) lines: Vec<Message>,
}

/// A message of a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Message {
    /// Seconds since the run began.
    pub(crate) seconds: f64,
    pub(crate) level: String,
    /// The stage that said it; `None` for the run itself.
    pub(crate) stage: Option<String>,
    pub(crate) text: String,
}
