//! From the gradients of shards to the next version of the weights.
//!
//! Laws: an update is a function of (weights, moments, gradients, learning rate). It writes to memory that nobody holds
//! any more, and never to what it reads.

mod adam;
mod config;
mod norms;
mod reduce;
mod schedule;

pub use crate::kernels::finite::all_finite;
pub use adam::{Adam, Moments, Updated};
pub use config::{AdamConfig, Clip, EpsilonPlace};
pub use reduce::reduce;
pub use schedule::{Schedule, ScheduleKeys, ScheduleKind};
