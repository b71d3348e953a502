//! The formulas on which the reference systems differ and that a kernel computes in either form.

use framewise_pipeline::KeyWord;
use serde::{Deserialize, Serialize};

/// How each cluster's descriptor is brought to length one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, KeyWord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum L2Norm {
    /// `V / sqrt(Σ V² + 1e-12)`.
    SqrtSumPlusEpsilon,
    /// `V / sqrt(max(Σ V², 1e-12))`.
    SqrtMaxEpsilon,
}

/// What the cross-entropy is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, KeyWord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossForm {
    /// From logits, in the stable form `max(l, 0) − l·t + ln(1 + e^−|l|)`.
    Logits,
    /// From probabilities, with 1e-8 inside both logarithms.
    Probabilities,
}

/// The number in the formulas of [`L2Norm`], which keeps the length of an empty cluster from zero.
pub(crate) const L2_EPSILON: f64 = 1e-12;

/// The number inside the logarithms of [`LossForm::Probabilities`].
pub(crate) const PROBABILITY_EPSILON: f64 = 1e-8;
