//! The state that a run goes on from.

use std::path::PathBuf;

use crate::store::Checkpoint;

/// A checkpoint that the caller of a run hands to its stages.
#[derive(Debug)]
pub struct Resume {
    /// The state.
    pub checkpoint: Checkpoint,
    /// The directory that it was read from.
    pub directory: PathBuf,
}
