//! The parameters that a kernel of NeXtVLAD's clustering takes in addition to the frames.

use candle_core::{Result, Tensor};

/// The parameters of one modality, with their tape in training and without it in evaluation.
///
/// F is the input size, E the expanded width, G the number of groups, D = E / G the width of a center and K the number
/// of clusters.
pub(crate) struct Branch {
    /// [E, F].
    pub(crate) expand_weight: Tensor,
    /// [E].
    pub(crate) expand_bias: Tensor,
    /// [G, E].
    pub(crate) attention_weight: Tensor,
    /// [G].
    pub(crate) attention_bias: Tensor,
    /// [G·K, E].
    pub(crate) assign_weight: Tensor,
    /// Scale of the assignment's batch norm, [G·K].
    pub(crate) norm_weight: Tensor,
    /// Shift of the assignment's batch norm, [G·K].
    pub(crate) norm_bias: Tensor,
    /// [K, D].
    pub(crate) centers: Tensor,
    /// G.
    pub(crate) groups: usize,
    /// K.
    pub(crate) clusters: usize,
    /// The number that is added to the variances of the assignment's batch norm.
    pub(crate) epsilon: f64,
}

impl Branch {
    /// E, the expanded width.
    pub(crate) fn expanded(&self) -> Result<usize> {
        self.expand_weight.dim(0)
    }

    /// D, the width of a center.
    pub(crate) fn width(&self) -> Result<usize> {
        self.centers.dim(1)
    }
}
