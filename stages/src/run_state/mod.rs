//! The state that the stages of one run share: the place from which the run continues, the records that were rejected,
//! and the log of numbers.

pub(crate) mod ledger;
pub(crate) mod metrics_log;
pub(crate) mod parts;
pub(crate) mod rejects;
pub(crate) mod rescue;
pub(crate) mod resume;
pub(crate) mod spread;
