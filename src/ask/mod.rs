//! Asking a run that another process serves (`run --metrics`): which run, and the questions.

pub(crate) mod client;
pub(crate) mod find;
pub(crate) mod log;
