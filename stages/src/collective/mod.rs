//! What the devices of a training step do together: they add the gradients of all shards, each for its slice of the
//! parameters, and hand each other what they made of it.
//!
//! Law: no result depends on the number of members. Sums are taken in shard order, and numbers are gathered in the order
//! of the parameters.

mod carrier;
mod communicator;
mod cut;
mod error;
mod gather;
mod local;
#[cfg(feature = "nccl")]
mod nccl;
mod sliced;
mod spread;
mod sum;
mod team;
mod wire;

#[cfg(test)]
mod tests;

pub use communicator::{Communicator, ShardTensors};
pub use cut::{Cut, PIECE, Span};
pub use error::{CollectiveError, Peer};
pub use gather::gather_slices;
pub use local::{LIMIT, Local};
pub use sliced::Sliced;
pub use team::{Member, Team};
pub(crate) use wire::{describe, described, from_bytes, to_bytes};
