//! Scores of a step's videos, on the host.

use std::sync::Arc;

use framewise_pipeline::Payload;

/// The predictions for a batch, detached from any tape.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// The step.
    pub step: u64,
    /// The epoch.
    pub epoch: u64,
    /// Classes, the width of a row.
    pub classes: usize,
    /// The videos' ids, in input order.
    pub ids: Arc<Vec<String>>,
    /// Each video's labels; empty where the data has none.
    pub labels: Arc<Vec<Vec<u32>>>,
    /// Probabilities, row-major [videos, classes].
    pub scores: Arc<Vec<f32>>,
    /// The loss of each video, summed over classes.
    pub losses: Arc<Vec<f32>>,
}

impl Predictions {
    /// The probabilities of one video.
    pub fn row(&self, video: usize) -> &[f32] {
        &self.scores[video * self.classes..(video + 1) * self.classes]
    }
}

impl Payload for Predictions {
    const NAME: &'static str = "predictions";

    fn byte_len(&self) -> usize {
        self.scores.len() * size_of::<f32>()
    }
}

/// The best classes of each video of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// One entry per video: id and its best (class, score), best first.
    pub videos: Arc<Vec<RankedVideo>>,
}

/// A video's id and its best (class, score) pairs, best first.
pub type RankedVideo = (String, Vec<(u32, f32)>);

impl Payload for Ranked {
    const NAME: &'static str = "rankings";
}
