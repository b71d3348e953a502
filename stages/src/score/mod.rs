//! The YouTube-8M metrics (Hit@1, PERR, GAP@20, mAP, mean loss) and the text of predictions.
//!
//! This module knows neither stages nor tensors: it takes plain slices and gives numbers.
//!
//! Law: a set of videos has one value of each metric, bit for bit, whatever the batches, shards, workers, merges or
//! order of arrival. To that end counts are integers, the loss is an exact sum, and the average precisions are computed
//! once, over the sorted pool of pairs.

mod accumulator;
mod average_precision;
mod error;
mod exact_sum;
pub mod output;
mod pool;
mod select;
mod wire;

#[cfg(test)]
mod tests;

pub use accumulator::{Accumulator, Metrics};
pub use error::ScoreError;
pub use select::top_k;
