//! The moments that a batch norm takes of a batch.

use candle_core::Tensor;

/// The moments of one batch norm over one shard.
#[derive(Clone, Debug)]
pub struct NormMoments {
    /// The mean of each column.
    pub mean: Tensor,
    /// The biased variance of each column.
    pub variance: Tensor,
    /// The number of rows over which the moments were taken, padded rows included.
    pub rows: usize,
}
