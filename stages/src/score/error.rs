//! What can be wrong with predictions and labels that are to be scored. An error about a video names the video.

/// The reason why a batch could not be scored. The accumulator is as it was before the call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScoreError {
    /// A score is NaN or infinite. A video with such a score has no ranking.
    #[error("video {video} of the batch: class {class} has score {score}, which is not finite")]
    NonFiniteScore {
        /// The video's row in the batch.
        video: usize,
        /// The class, which is the column of the score.
        class: usize,
        /// The score.
        score: f32,
    },
    /// A loss is NaN or infinite.
    #[error("video {video} of the batch: loss {loss} is not finite")]
    NonFiniteLoss {
        /// The video's row in the batch.
        video: usize,
        /// The loss.
        loss: f32,
    },
    /// A label names a class that the predictions do not have.
    #[error("video {video} of the batch: label {label} is outside the {classes} classes")]
    LabelOutOfRange {
        /// The video's row in the batch.
        video: usize,
        /// The label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
    /// Two slices that belong together differ in length.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// The name of the slice.
        what: &'static str,
        /// The length with which it would fit the others.
        expected: usize,
        /// The length that it has.
        found: usize,
    },
    /// The number of classes or of kept pairs is out of range.
    #[error(
        "{classes} classes with the {top_k} best of each video: both must be at least 1, and classes below 2^31"
    )]
    Config {
        /// The number of classes that was asked for.
        classes: usize,
        /// The number of pairs of a video that was asked for.
        top_k: usize,
    },
    /// Two accumulators cannot be merged, because they count different things.
    #[error(
        "cannot merge scores of {other_classes} classes, best {other_top_k}, into {classes} classes, best {top_k}"
    )]
    Mismatch {
        /// The classes of the accumulator that was to receive.
        classes: usize,
        /// The pairs of a video in the accumulator that was to receive.
        top_k: usize,
        /// The classes of the other accumulator.
        other_classes: usize,
        /// The pairs of a video in the other accumulator.
        other_top_k: usize,
    },
    /// The bytes are not those of an accumulator.
    #[error("serialised scores: {0}")]
    Wire(String),
}
