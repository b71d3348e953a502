//! From the gradients of shards to the next version of the weights.
//!
//! Laws: an update is a function of (weights, moments, gradients, learning rate). It writes to memory that nobody else
//! holds. It writes to what it reads only if it is certain beforehand that what it writes is finite.

mod adam;
mod config;
mod divided;
mod in_place;
mod moments;
mod norms;
mod reduce;
mod schedule;
mod steps;

pub use crate::kernels::finite::all_finite;
pub use adam::{Adam, Updated};
pub use config::{AdamConfig, Clip, EpsilonPlace};
pub use divided::{Divided, Memory, Version};
pub use in_place::Bounds;
pub use moments::{DividedMoments, Moments};
pub use reduce::{Among, cut, reduce, reduce_scatter};
pub use schedule::{Schedule, ScheduleKeys, ScheduleKind};
