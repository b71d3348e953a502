//! A step's videos: packed features, in one shard or several.

use std::sync::Arc;

use framewise_pipeline::{Failure, Payload};

use super::{Features, Video};

/// Videos packed for a device.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// The videos' ids, in order.
    pub ids: Vec<String>,
    /// Each video's labels, ascending.
    pub labels: Vec<Vec<u32>>,
    /// Their features.
    pub features: Features,
}

impl Batch {
    /// Videos in the batch.
    pub fn videos(&self) -> usize {
        self.ids.len()
    }

    /// Adds a video at the end. The first one decides of which kind they are.
    ///
    /// # Errors
    /// Internal: a video of the other kind; `check` lets no graph send both to one stage.
    pub fn push(&mut self, video: Video) -> Result<(), Failure> {
        match (&video, &self.features) {
            _ if self.videos() > 0 => {}
            (Video::Frames(_), Features::Means { .. }) => self.features = Features::default(),
            (Video::Means(_), Features::Frames { .. }) => {
                self.features = Features::Means { rgb: Vec::new(), audio: Vec::new() };
            }
            _ => {}
        }
        match (video, &mut self.features) {
            (Video::Frames(example), Features::Frames { lengths, rgb, audio }) => {
                lengths.push(example.frames);
                rgb.extend_from_slice(&example.rgb);
                audio.extend_from_slice(&example.audio);
                self.ids.push(example.id);
                self.labels.push(example.labels);
            }
            (Video::Means(example), Features::Means { rgb, audio }) => {
                rgb.extend_from_slice(&example.mean_rgb);
                audio.extend_from_slice(&example.mean_audio);
                self.ids.push(example.id);
                self.labels.push(example.labels);
            }
            _ => return Err(Failure::internal("a batch of frame-level and video-level videos")),
        }
        Ok(())
    }

    /// A part of the batch: `count` videos from `first` on.
    pub fn slice(&self, first: usize, count: usize) -> Batch {
        let end = first + count;
        Batch {
            ids: self.ids[first..end].to_vec(),
            labels: self.labels[first..end].to_vec(),
            features: self.features.slice(self.videos(), first, count),
        }
    }
}

/// What a training or evaluation step works on: its batch, split into shards. A step comes whole through every
/// channel, so that no stage ever has to put parts back in order.
#[derive(Debug, Clone)]
pub struct Step {
    /// Steps before this one in the run, over all epochs.
    pub index: u64,
    /// The epoch its videos belong to, from 0.
    pub epoch: u64,
    /// The contiguous parts of the batch, none of them empty.
    pub shards: Vec<Arc<Batch>>,
}

impl Step {
    /// Videos of all shards.
    pub fn videos(&self) -> usize {
        self.shards.iter().map(|s| s.videos()).sum()
    }
}

impl Payload for Step {
    const NAME: &'static str = "batches";

    fn byte_len(&self) -> usize {
        self.shards.iter().map(|s| s.features.byte_len()).sum()
    }
}
