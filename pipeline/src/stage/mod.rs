//! What a stage is: how a type describes itself and is built, what it is given, and the two tiers in which it is written.
//!
//! [`Transform`](transform::Transform) is the simple tier, [`Stage`] the one with full control. A Rust type describes
//! either: [`TransformType`](typed::TransformType) or [`StageType`](typed::StageType), whose configuration is a struct that
//! derives [`Keys`](config::Keys). The registry keeps both as [`Component`](component::Component)s.

pub mod closure;
pub mod component;
pub mod config;
pub mod context;
pub mod estimate;
pub mod key;
pub mod ports;
pub mod prelude;
pub mod settings;
pub mod survey;
pub mod transform;
pub mod typed;
pub mod upstream;

use crate::edge::error::StageError;

/// A stage, built and wired. It runs on a thread of its own, which owns its state.
///
/// Prefer [`crate::Transform`] where a stage has one input and one output. A `Stage` passes marks on in their
/// place, returns `Ok` after the `End` of its (main) input, and commits what it writes under a final name only
/// on a mark or at `End`. The engine sends `End` on every output once `run` has returned `Ok`.
pub trait Stage: Send {
    /// Runs to the end of the input.
    ///
    /// # Errors
    /// [`StageError::Failed`] stops the whole run with this stage's error; `Stopped` and `Closed` are passed on
    /// from port operations with `?`.
    fn run(self: Box<Self>) -> Result<(), StageError>;
}
