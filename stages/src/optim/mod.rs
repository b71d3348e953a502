//! From the gradients of shards to the next version of the weights. The one law: an update is a function of (weights,
//! moments, gradients, learning rate); it writes to memory that nobody holds any more, never to what it reads.

mod adam;
mod finite;
mod norms;
mod reduce;
mod schedule;
mod slices;

pub use adam::{Adam, AdamConfig, Clip, EpsilonPlace, Moments, Updated};
pub use finite::all_finite;
pub use reduce::reduce;
pub use schedule::{Schedule, ScheduleKind};
