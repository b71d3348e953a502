//! The videos of a step: a batch of packed features, in one shard or several.

use std::ops::Range;
use std::sync::Arc;

use framewise_pipeline::{Failure, Payload};

use super::{Features, Video};

/// A batch: videos whose features are packed for a device.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// The videos' ids, in order.
    pub ids: Vec<String>,
    /// Each video's labels, ascending.
    pub labels: Vec<Vec<u32>>,
    /// The videos' features.
    pub features: Features,
}

impl Batch {
    /// The number of videos in the batch.
    pub fn videos(&self) -> usize {
        self.ids.len()
    }

    /// The bytes of the batch's features.
    pub fn byte_len(&self) -> usize {
        self.features.byte_len()
    }

    /// Adds a video at the end. The first video decides which kind of videos the batch holds.
    ///
    /// # Errors
    /// `Internal` for a video of the other kind, because `check` lets no graph send both kinds to one stage.
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
                example.rgb.append_to(rgb);
                example.audio.append_to(audio);
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

    /// The part of the batch with `count` videos from video `first` on.
    pub fn slice(&self, first: usize, count: usize) -> Batch {
        let end = first + count;
        Batch {
            ids: self.ids[first..end].to_vec(),
            labels: self.labels[first..end].to_vec(),
            features: self.features.slice(self.videos(), first, count),
        }
    }
}

/// How much of its epoch a step and the steps before it have used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EpochProgress {
    /// The steps of the epoch so far, this one included.
    pub steps: u64,
    /// The videos of those steps.
    pub samples: u64,
    /// The highest [`crate::payload::Lazy::position`] among those videos.
    pub furthest: u64,
}

/// What a step of training or evaluation works on: its batch, split into shards. A step passes through every channel as
/// a whole, so no stage ever has to put parts back in order.
#[derive(Debug, Clone)]
pub struct Step {
    /// The number of steps before this one in the run, over all epochs.
    pub index: u64,
    /// The epoch that the videos belong to, counted from 0.
    pub epoch: u64,
    /// How much of the epoch is used up after this step.
    pub progress: EpochProgress,
    /// The contiguous parts of the batch, none of them empty.
    pub shards: Vec<Arc<Batch>>,
    /// Which part of the step `shards` are, where other ranks have the rest of it. With `None` they are all.
    pub part: Option<StepPart>,
}

/// The part of a step that one of several ranks has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepPart {
    /// The number of shards before those of this rank.
    pub first_shard: usize,
    /// The number of shards of all ranks.
    pub shards: usize,
    /// The number of videos of all ranks.
    pub videos: usize,
    /// The CRC-32C of the places of all videos, by which ranks tell whether they have the same step.
    pub videos_crc: u32,
}

/// The videos of each shard where `videos` videos make at most `shards` shards. The sizes differ by at most one, and the larger
/// shards come first.
pub fn shard_ranges(videos: usize, shards: usize) -> Vec<Range<usize>> {
    let shards = shards.clamp(1, videos.max(1));
    let (size, larger) = (videos / shards, videos % shards);
    let mut first = 0;
    let range = |shard| {
        let end = first + size + usize::from(shard < larger);
        std::mem::replace(&mut first, end)..end
    };
    (0..shards).map(range).collect()
}

impl Step {
    /// The number of videos in the shards that are here.
    pub fn videos(&self) -> usize {
        self.shards.iter().map(|s| s.videos()).sum()
    }
}

impl Payload for Step {
    const NAME: &'static str = "batches";

    fn byte_len(&self) -> usize {
        self.shards.iter().map(|s| s.byte_len()).sum()
    }

    fn step(&self) -> Option<u64> {
        Some(self.index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Example, Origin, Rows, VideoExample};

    fn origin() -> Origin {
        Origin { file: std::path::Path::new("a").into(), record: 0, byte: 0 }
    }

    fn frames(id: &str, frames: usize) -> Video {
        let rgb = Rows::packed(vec![frames as u8; frames * 3], frames);
        let audio = Rows::packed(vec![7; frames * 2], frames);
        Video::Frames(Example { id: id.into(), labels: vec![1], frames, rgb, audio, origin: origin() })
    }

    fn means(id: &str, value: f32) -> Video {
        let (mean_rgb, mean_audio) = (vec![value; 3], vec![-value; 2]);
        Video::Means(VideoExample { id: id.into(), labels: vec![2], mean_rgb, mean_audio, origin: origin() })
    }

    #[test]
    fn a_slice_is_what_its_videos_alone_would_be() {
        let kinds = [
            ["a", "b", "c", "d"].map(|id| frames(id, id.as_bytes()[0] as usize - 95)),
            ["a", "b", "c", "d"].map(|id| means(id, f32::from(id.as_bytes()[0]))),
        ];
        let pack = |videos: &[Video]| {
            let mut batch = Batch::default();
            videos.iter().for_each(|video| batch.push(video.clone()).unwrap());
            batch
        };
        for videos in kinds {
            let whole = pack(&videos);
            for first in 0..4 {
                for end in first + 1..=4 {
                    assert_eq!(whole.slice(first, end - first), pack(&videos[first..end]));
                }
            }
            // An emptied batch takes the same kind of videos again, and the other kind too.
            let mut next = Batch { features: whole.features.emptied((7, 0)), ..Batch::default() };
            next.push(videos[1].clone()).unwrap();
            assert_eq!(next, pack(&videos[1..2]));
        }
    }

    #[test]
    fn the_two_kinds_do_not_mix() {
        for (first, second) in [(frames("a", 1), means("b", 1.0)), (means("a", 1.0), frames("b", 1))] {
            let mut batch = Batch::default();
            batch.push(first).unwrap();
            let before = batch.clone();
            assert!(batch.push(second.clone()).is_err());
            assert_eq!(batch, before);
            let mut emptied = Batch { features: batch.features.emptied((0, 3)), ..Batch::default() };
            emptied.push(second).unwrap();
            assert_eq!(emptied.videos(), 1);
        }
    }
}
