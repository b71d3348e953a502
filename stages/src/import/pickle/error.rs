//! The error of pickles.

/// The reason why bytes are not a pickled dict of arrays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {why}")]
pub struct PickleError {
    /// The byte of the file at which the trouble begins.
    pub at: usize,
    /// What is wrong.
    pub why: String,
}
