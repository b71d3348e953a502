//! What travels between stages.

mod batch;
mod predictions;
mod training;

pub use batch::{Batch, Step, rows_of};
pub use predictions::{Predictions, Ranked, RankedVideo};
pub use training::{
    ForwardPass, ForwardShard, GradientShard, LossPass, LossShard, ShardGradients, TrainState, Update, WeightsVersion,
};
