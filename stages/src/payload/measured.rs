//! What an evaluation measured. It travels with a state and is stored in a checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What an evaluation measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The step whose weights were measured.
    pub step: u64,
    /// The results by name. `None` stands for a result that is not a number.
    pub metrics: BTreeMap<String, Option<f64>>,
}
