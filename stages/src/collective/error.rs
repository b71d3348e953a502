//! The reasons for which what members do together fails.

use std::fmt;

use crate::ranks::LinkError;

/// A member of a group, as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The member's number, from 0.
    pub rank: usize,
    /// Where the member is: the name of its device or, between processes, of its host.
    pub place: String,
}

/// The reason for which a collective operation failed.
#[derive(Debug, thiserror::Error)]
pub enum CollectiveError {
    /// Members did not come to the operation within the time limit.
    #[error("{operation}: waited {seconds} s, and {} did not come", Listed(missing))]
    Missing {
        /// The operation.
        operation: &'static str,
        /// The time limit.
        seconds: f64,
        /// The members that did not come, at least one.
        missing: Vec<Peer>,
    },
    /// A member has failed, or came too late to an operation, so no further one can be completed.
    #[error("{operation}: {member} has failed or came too late, so the group is broken")]
    Left {
        /// The operation.
        operation: &'static str,
        /// The first such member.
        member: Peer,
    },
    /// Members called different operations at the same time.
    #[error("{operation}: {member} called {called} in its place")]
    Mismatch {
        /// The operation of the first member.
        operation: &'static str,
        /// The first member that called another one.
        member: Peer,
        /// What that member called.
        called: &'static str,
    },
    /// The ranks could not exchange what they had to.
    #[error("{operation}: {source}")]
    Link {
        /// The operation.
        operation: &'static str,
        /// The reason.
        source: LinkError,
    },
    /// The tensors do not fit, or a device failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// The error of an operation for which the ranks could not exchange what they had to.
pub(super) fn failed(operation: &'static str) -> impl Fn(LinkError) -> CollectiveError {
    move |source| CollectiveError::Link { operation, source }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} ({})", self.rank, self.place)
    }
}

/// Members in a sentence.
struct Listed<'a>(&'a [Peer]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, peer) in self.0.iter().enumerate() {
            let before = match index {
                0 => "",
                _ if index + 1 == self.0.len() => " and ",
                _ => ", ",
            };
            write!(f, "{before}{peer}")?;
        }
        Ok(())
    }
}

impl From<CollectiveError> for candle_core::Error {
    fn from(error: CollectiveError) -> Self {
        match error {
            CollectiveError::Tensor(error) => error,
            error => Self::wrap(error),
        }
    }
}
