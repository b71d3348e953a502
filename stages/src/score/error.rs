//! What can be wrong with predictions and labels that are to be scored; every variant names the video.

/// Why a batch could not be scored. The accumulator is as it was before the call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScoreError {
    /// A score is NaN or infinite. Such a video has no ranking.
    #[error("video {video} of the batch: class {class} has score {score}, which is not finite")]
    NonFiniteScore {
        /// Row in the batch.
        video: usize,
        /// Column of the score.
        class: usize,
        /// The score.
        score: f32,
    },
    /// A loss is NaN or infinite.
    #[error("video {video} of the batch: loss {loss} is not finite")]
    NonFiniteLoss {
        /// Row in the batch.
        video: usize,
        /// The loss.
        loss: f32,
    },
    /// A label names a class that the predictions do not have.
    #[error("video {video} of the batch: label {label} is outside the {classes} classes")]
    LabelOutOfRange {
        /// Row in the batch.
        video: usize,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// Two slices that belong together differ in length.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Its length if it fitted the others.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// A number of classes or of kept pairs that cannot be.
    #[error(
        "{classes} classes with the {top_k} best of each video: both must be at least 1, and classes below 2^31"
    )]
    Config {
        /// Number of classes asked for.
        classes: usize,
        /// Number of pairs a video.
        top_k: usize,
    },
    /// Two accumulators that count different things.
    #[error(
        "cannot merge scores of {other_classes} classes, best {other_top_k}, into {classes} classes, best {top_k}"
    )]
    Mismatch {
        /// Classes of the receiver.
        classes: usize,
        /// Pairs a video of the receiver.
        top_k: usize,
        /// Classes of the other.
        other_classes: usize,
        /// Pairs a video of the other.
        other_top_k: usize,
    },
    /// Serialised scores that do not hold together.
    #[error("serialised scores: {0}")]
    Wire(String),
}
