//! The parameters that a kernel of NeXtVLAD's clustering takes in addition to the frames.

use candle_core::{Result, Tensor};

use super::backend::Fold;
use super::deposits::deposit;

/// The parameters of one modality, with their tape in training and without it in evaluation.
///
/// F is the input size, E the expanded width, G the number of groups, D = E / G the width of a center and K the number
/// of clusters.
///
/// A clone has the same parameters, on the same tape.
#[derive(Clone)]
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

/// The gradients of a [`Branch`], of the shapes of its parameters.
pub(crate) struct BranchGradients {
    pub(crate) expand_weight: Tensor,
    pub(crate) expand_bias: Tensor,
    /// Of the weights of the assignment and, below them, of the attention, [G·K + G, E].
    pub(crate) stacked: Tensor,
    pub(crate) attention_bias: Tensor,
    pub(crate) norm_weight: Tensor,
    pub(crate) norm_bias: Tensor,
    pub(crate) centers: Tensor,
}

impl Branch {
    /// [Deposits](deposit) the gradients of all parameters.
    pub(crate) fn deposit(&self, gradients: BranchGradients) -> Result<()> {
        let width = self.groups * self.clusters;
        deposit(&self.expand_weight, gradients.expand_weight)?;
        deposit(&self.expand_bias, gradients.expand_bias)?;
        deposit(&self.attention_weight, gradients.stacked.narrow(0, width, self.groups)?)?;
        deposit(&self.attention_bias, gradients.attention_bias)?;
        deposit(&self.assign_weight, gradients.stacked.narrow(0, 0, width)?)?;
        deposit(&self.norm_weight, gradients.norm_weight)?;
        deposit(&self.norm_bias, gradients.norm_bias)?;
        deposit(&self.centers, gradients.centers)
    }

    /// E, the expanded width.
    pub(crate) fn expanded(&self) -> Result<usize> {
        self.expand_weight.dim(0)
    }

    /// D, the width of a center.
    pub(crate) fn width(&self) -> Result<usize> {
        self.centers.dim(1)
    }

    /// Whether a training batch of `frames` rows of `size` features is computed through the fold. If the size decides, it is
    /// where the fold saves arithmetic. The products of a step then take F·W in place of E·W for each frame, and F·E·W
    /// three times more for each step.
    pub(crate) fn folds(&self, frames: usize, size: usize, fold: Fold) -> Result<bool> {
        match fold {
            Fold::Always => return Ok(true),
            Fold::Never => return Ok(false),
            Fold::BySize => {}
        }
        let expanded = self.expanded()?;
        // For each frame, the forward pass saves E − F, and the backward pass saves E (the gradient of h) + E − F.
        let saved = frames * (3 * expanded).saturating_sub(2 * size);
        Ok(saved > 3 * expanded * size)
    }

    /// Whether an evaluation goes through the fold. The number of frames does not decide, because
    /// the values of a video must not depend on the batch in which it comes. So it is where the fold saves arithmetic for
    /// each frame.
    pub(crate) fn folds_in_evaluation(&self, fold: Fold) -> Result<bool> {
        let (expanded, size) = self.expand_weight.dims2()?;
        Ok(match fold {
            Fold::Always => true,
            Fold::Never => false,
            Fold::BySize => size < expanded,
        })
    }
}
