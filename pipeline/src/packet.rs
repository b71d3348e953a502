//! What travels through a channel: items, marks between them, and the end.

/// One thing in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<T> {
    /// A payload.
    Item(T),
    /// A mark that every stage passes on in its place between the items.
    Mark(Mark),
    /// Nothing more comes: the sender returned `Ok`. It stands behind every other packet and takes no place in
    /// the channel. A channel that disconnects without `End` belongs to a stage that failed.
    End,
}

/// A point in the stream that all stages see at the same place: the state of each stage at a mark is a
/// consistent cut through the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Epoch `epoch` (counted from 0) is complete: no later item belongs to it.
    EpochEnd {
        /// The epoch that has ended.
        epoch: u64,
    },
}
