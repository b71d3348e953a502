//! The ranks of a job: the processes that run one graph together, and what carries messages between them.
//!
//! Law: a message between two ranks is never lost, doubled or mistaken for one of another channel, and the messages of one
//! channel arrive in the order in which they were sent.

mod channel;
mod job;
mod link;
#[cfg(feature = "mpi")]
pub mod mpi;
mod share;
mod threads;

#[cfg(test)]
mod tests;

pub use channel::Channel;
pub use job::{Ranks, Split};
pub use link::{Incoming, Link, LinkError, Outgoing};
pub use share::Share;
pub use threads::Threads;
