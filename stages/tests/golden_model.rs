//! NeXtVLAD and its optimiser against values of independent reference programs (`tests/data/golden`), and against
//! slower, plainer computations.
#![allow(clippy::unwrap_used, reason = "helpers of tests outside #[test] functions; a panic is the failure")]

#[path = "golden_model/choices.rs"]
mod choices;
#[path = "golden_model/determinism.rs"]
mod determinism;
#[path = "golden_model/differences.rs"]
mod differences;
#[path = "golden_model/imported.rs"]
mod imported;
#[path = "golden_model/outputs.rs"]
mod outputs;
#[path = "golden_model/padding.rs"]
mod padding;
#[path = "golden_model/parameters.rs"]
mod parameters;
#[path = "golden_model/saturation.rs"]
mod saturation;
#[path = "golden_model/size.rs"]
mod size;
#[path = "golden_model/support.rs"]
mod support;
#[path = "golden_model/trajectory.rs"]
mod trajectory;
