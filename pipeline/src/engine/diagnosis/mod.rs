//! The diagnosis of a run: which unit limits it, why, what to change, and what that brings at most.
//!
//! Laws: the limiting unit is the one that works for the largest share of the time. A diagnosis is a function of
//! readings, so every view that has the readings has the diagnosis. Warm-up is left out, and nothing is claimed from
//! less than [`LEAST_SECONDS`], from fewer than [`LEAST_READINGS`] readings, or while the parts of the run disagree.

mod facts;
mod finding;
mod load;
mod rules;
mod service;
mod steady;
mod words;

#[cfg(test)]
mod tests;

pub use finding::{Bottleneck, Edit, Reason};
pub use service::Service;
pub use steady::{LEAST_ITEMS, LEAST_READINGS, LEAST_SECONDS};

pub(crate) use facts::{EdgeFacts, Facts, StageFacts};
pub(crate) use rules::diagnose;
pub(crate) use service::service;
