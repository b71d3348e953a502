//! What travels between the stages.
//!
//! One law: a payload is a value. It says how many bytes it keeps alive, and what was read from a file carries its
//! [`Origin`], so that any later stage can name the file and record an error belongs to.

mod batch;
mod example;
mod lazy;
mod predictions;
mod record;
mod training;

use framewise_pipeline::Payload;

pub use batch::{Batch, EpochProgress, Step, rows_of};
pub use example::{Example, VideoExample};
pub use lazy::{Deferred, Lazy, Loader};
pub use predictions::{Predictions, Ranked, RankedVideo};
pub use record::{Origin, Record};
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

impl Payload for Example {
    const NAME: &'static str = "examples";

    fn byte_len(&self) -> usize {
        Example::byte_len(self)
    }
}
