//! From the gradients of shards to the next version of the weights.
//!
//! Laws: an update is a function of (weights, moments, gradients, learning rate). It writes to memory that nobody holds
//! any more, and never to what it reads.

mod adam;
mod config;
mod divided;
mod moments;
mod norms;
mod reduce;
mod schedule;
mod steps;

pub use crate::kernels::finite::all_finite;
pub use adam::{Adam, Updated};
pub use config::{AdamConfig, Clip, EpsilonPlace};
pub use divided::{Divided, Memory, Version};
pub use moments::{DividedMoments, Moments};
pub use reduce::{cut, reduce, reduce_scatter};
pub use schedule::{Schedule, ScheduleKeys, ScheduleKind};
