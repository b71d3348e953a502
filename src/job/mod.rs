//! This process as one of those that run a graph together, and what a graph must be for that.
//!
//! Law: a run that several processes cannot make together is refused before anything is written.

mod environment;
mod linked;
mod member;
mod rank;
mod refusal;
mod watch;

pub(crate) use linked::{Linked, end_all, link};
pub(crate) use member::Job;
pub(crate) use rank::Rank;
pub(crate) use refusal::check;
pub(crate) use watch::Watch;
