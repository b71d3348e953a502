//! The full-control tier: a stage that owns its ports and its loop.

use crate::error::StageError;

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
