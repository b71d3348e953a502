//! What travels between the stages.
//!
//! Law: a payload is a value. A payload says how many bytes it keeps alive. What was read from a file carries its
//! [`Origin`], so that any later stage can name the file and the record that an error belongs to.

mod batch;
mod describe;
mod example;
mod features;
mod handover;
mod held;
mod lazy;
mod lease;
mod measured;
mod predictions;
mod record;
mod rows;
mod training;

use framewise_pipeline::Payload;

pub use batch::{Batch, EpochProgress, Step, StepPart, shard_ranges};
pub use describe::{Array, Describe, Description};
pub use example::{Example, VideoExample};
pub use features::{Features, Sizes, Video, any_of, means_of, rows_of};
pub use handover::Handover;
pub(crate) use held::Held;
pub use lazy::{Deferred, Lazy, Loader};
pub use lease::Lease;
pub(crate) use lease::Row;
pub use measured::Measured;
pub use predictions::{Predictions, Ranked, RankedVideo};
pub use record::{Origin, Record};
pub use rows::Rows;
pub use training::{
    ForwardPass, ForwardShard, GradientShard, LossPass, LossShard, ShardGradients, TrainState, Update,
    WeightsVersion,
};

impl Payload for Record {
    const NAME: &'static str = "records";

    fn byte_len(&self) -> usize {
        Record::byte_len(self)
    }
}
