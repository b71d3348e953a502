//! What travels between the stages.
//!
//! One law: a payload is a value. It says how many bytes it keeps alive, and what was read from a file carries its
//! [`Origin`], so that any later stage can name the file and record an error belongs to.

mod batch;
mod example;
mod features;
mod lazy;
mod predictions;
mod record;
mod training;

use framewise_pipeline::Payload;

pub use batch::{Batch, EpochProgress, Step};
pub use example::{Example, VideoExample};
pub use features::{Features, Sizes, Video, any_of, means_of, rows_of};
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
