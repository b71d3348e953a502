//! The stages that measure and predict. They load weights, turn logits into probabilities, rank classes, compute
//! metrics, and run whole evaluations inside a training run.

pub(crate) mod evaluate;
mod inner;
pub(crate) mod load_weights;
pub(crate) mod metrics;
pub(crate) mod predict;
mod together;
pub(crate) mod top_k;
