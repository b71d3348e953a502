//! Predictions: the scores of a step's videos, in host memory.

use std::sync::Arc;

use framewise_pipeline::Payload;

/// The predictions for a step's videos, detached from any tape.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// The step, as in [`crate::payload::Step::index`].
    pub step: u64,
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// The number of classes, which is the width of a row of `scores`.
    pub classes: usize,
    /// The videos' ids, in input order.
    pub ids: Arc<Vec<String>>,
    /// Each video's labels; empty where the data have none.
    pub labels: Arc<Vec<Vec<u32>>>,
    /// The probabilities, f32 [videos, classes], row-major.
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

    fn step(&self) -> Option<u64> {
        Some(self.step + 1)
    }
}

/// The best classes of each video of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// One entry for each video, in input order.
    pub videos: Arc<Vec<RankedVideo>>,
}

/// A video's id and its best (class, score) pairs, best first.
pub type RankedVideo = (String, Vec<(u32, f32)>);

impl Payload for Ranked {
    const NAME: &'static str = "rankings";
}
