//! What travels through a channel: items, marks between the items, and the end.

use crate::edge::payload::Payload;

/// One thing in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<T> {
    /// A payload.
    Item(T),
    /// A mark that every stage passes on in its place between the items.
    Mark(Mark),
    /// The end: the sender returned `Ok`, and nothing more will come. `End` stands behind every other packet and takes
    /// no place in the channel. A channel that disconnects without `End` belongs to a stage that failed.
    End,
}

impl<T: Payload> Packet<T> {
    /// The number of the step that the packet belongs to, if it is an item of a step.
    pub(crate) fn step(&self) -> Option<u64> {
        match self {
            Packet::Item(item) => item.step(),
            Packet::Mark(_) | Packet::End => None,
        }
    }
}

/// A point in the stream that all stages see at the same place. The states of all stages at a mark are therefore a
/// consistent cut through the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Epoch `epoch` (counted from 0) is complete: no later item belongs to this epoch.
    EpochEnd {
        /// The epoch that has ended.
        epoch: u64,
    },
}
