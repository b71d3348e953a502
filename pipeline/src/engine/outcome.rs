//! How a run ended: its outcome, and the record of its first failure.
//!
//! Law: the first failure is recorded before the stop token trips. What follows from that failure is therefore not
//! taken for the cause.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::monitor::Monitor;
use crate::edge::error::{ErrorKind, Failure};
use crate::edge::stop::StopToken;

/// The first failure of a run, and the stage in which it happened.
#[derive(Debug)]
pub struct RunError {
    /// The stage's name. It is empty where no single stage is to blame.
    pub stage: String,
    /// What happened.
    pub failure: Failure,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stage.is_empty() {
            return self.failure.fmt(f);
        }
        write!(f, "stage `{}`: {}", self.stage, self.failure)
    }
}

impl std::error::Error for RunError {}

/// How a run ended.
#[derive(Debug)]
pub enum Status {
    /// Every stage reached its end.
    Done,
    /// Every stage reached its end after a request to finish early.
    FinishedEarly,
    /// The run was stopped from outside.
    Stopped,
    /// A stage failed.
    Failed(RunError),
}

/// The outcome of a run: how it ended, and what it measured.
#[derive(Debug)]
pub struct Outcome {
    /// How the run ended.
    pub status: Status,
    /// The seconds from the start of the first stage to the end of the last one.
    pub wall_seconds: f64,
    /// The numbers that the run ended with, by name.
    pub results: BTreeMap<String, f64>,
    /// The final readings of stages and edges.
    pub monitor: Monitor,
}

impl Status {
    /// The kind of the failure, if the run failed.
    pub fn error_kind(&self) -> Option<ErrorKind> {
        match self {
            Status::Failed(error) => Some(error.failure.kind),
            _ => None,
        }
    }
}

/// The place for the first error of a run.
pub(crate) type FirstError = Arc<Mutex<Option<RunError>>>;

/// Records the failure of a stage, if it is the run's first, and stops the run.
pub(crate) fn record(errors: &Mutex<Option<RunError>>, error: RunError, stop: &StopToken) {
    errors.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    stop.trip();
}

/// The failure of a stage that panicked.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::internal(format!("panicked: {}", text.unwrap_or("without a message")))
}
