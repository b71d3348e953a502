//! The transforms: the stages between a source and a model, which decode, pool, shuffle, batch and shard.

pub(crate) mod batch;
pub(crate) mod decode_frames;
pub(crate) mod decode_video;
mod decoding;
pub(crate) mod mean_pool;
mod sampled;
pub(crate) mod shard;
pub(crate) mod shuffle;
mod uninformative;
