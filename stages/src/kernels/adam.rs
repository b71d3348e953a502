//! The arguments of Adam's kernel: the numbers of an update, and the tensors that it reads.

use candle_core::Tensor;

/// The numbers of one update of one parameter, each worked out in f64.
///
/// With the gradient `g' = gradient_factor·g + parameter_factor·w`, the update is `m ← β1·m + (1−β1)·g'`,
/// `v ← β2·v + (1−β2)·g'²` and `w ← w − rate·m / (sqrt(second_factor·v) + epsilon)`.
#[derive(Clone, Copy)]
pub(crate) struct Coefficients {
    /// β1, the decay of the first moment.
    pub(crate) beta1: f64,
    /// β2, the decay of the second moment.
    pub(crate) beta2: f64,
    /// The learning rate with the bias corrections that stand outside the root.
    pub(crate) rate: f64,
    /// The bias correction that stands under the root.
    pub(crate) second_factor: f64,
    /// ε, added to the root.
    pub(crate) epsilon: f64,
    /// The clip factor.
    pub(crate) gradient_factor: f64,
    /// The strength of L2, clipped where L2 is clipped too. 0 where the parameter has no L2.
    pub(crate) parameter_factor: f64,
}

/// The tensors that an update of one parameter reads, all of one shape and type.
pub(crate) struct Old<'a> {
    /// The parameter w.
    pub(crate) parameter: &'a Tensor,
    /// The first moment m.
    pub(crate) first: &'a Tensor,
    /// The second moment v.
    pub(crate) second: &'a Tensor,
    /// The gradient g.
    pub(crate) gradient: &'a Tensor,
}

/// The tensors that an update of one parameter writes, of the shape and type of the old ones.
pub(crate) struct New<'a> {
    /// The parameter w.
    pub(crate) parameter: &'a Tensor,
    /// The first moment m.
    pub(crate) first: &'a Tensor,
    /// The second moment v.
    pub(crate) second: &'a Tensor,
}
