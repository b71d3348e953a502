//! The trait of what carries bytes between ranks.

/// Bytes for another rank.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The rank that takes them.
    pub to: usize,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// The place for bytes of another rank, of just the length that is sent.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The rank that sends them.
    pub from: usize,
    /// The place.
    pub bytes: &'a mut [u8],
}

/// A rank's end of what carries bytes between the ranks of a job.
///
/// There is one operation, from which all others are made: every rank says at once what it sends and what it takes.
pub trait Link: Send + Sync {
    /// This rank's number, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Sends and takes messages under a tag, and returns when all have been sent and taken. Messages between two ranks
    /// under one tag arrive in the order of their place in `outgoing`, and those of an earlier call before those of a
    /// later one. For one tag no two threads of a rank may call this at once.
    ///
    /// # Errors
    /// [`LinkError::Gone`] when a rank that takes part has ended before. [`LinkError::Length`] when a message has another
    /// length than the place for it.
    fn exchange(
        &self,
        tag: i32,
        outgoing: &[Outgoing<'_>],
        incoming: &mut [Incoming<'_>],
    ) -> Result<(), LinkError>;
}

/// The reason for which messages could not be exchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A rank has ended.
    #[error("rank {rank} ({host}) has ended before it sent what rank {own} waits for")]
    Gone {
        /// The rank.
        rank: usize,
        /// The name of its host.
        host: String,
        /// The rank that waits.
        own: usize,
    },
    /// A message has another length than the place for it, so the ranks do not run the same program on the same graph.
    #[error(
        "rank {rank} sent {found} bytes where {expected} were expected: the ranks do not do the same work"
    )]
    Length {
        /// The rank that sent the message.
        rank: usize,
        /// The length of the message in bytes.
        found: usize,
        /// The length of the place for it.
        expected: usize,
    },
    /// The system that carries the messages failed.
    #[error("exchanging messages failed: {0}")]
    System(String),
}
