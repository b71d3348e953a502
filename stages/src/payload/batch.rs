//! A step's videos: packed frames, in one shard or several.

use std::sync::Arc;

use framewise_pipeline::{Dim, Payload, PayloadType};

/// Videos packed for a device: the frames of all videos one after another, no padding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The videos' ids, in order.
    pub ids: Vec<String>,
    /// Each video's labels, ascending.
    pub labels: Vec<Vec<u32>>,
    /// Frames of each video, at least 1.
    pub lengths: Vec<usize>,
    /// Visual rows, u8 [Σ lengths, rgb_size].
    pub rgb: Vec<u8>,
    /// Audio rows, u8 [Σ lengths, audio_size].
    pub audio: Vec<u8>,
}

impl Batch {
    /// Videos in the batch.
    pub fn videos(&self) -> usize {
        self.ids.len()
    }

    /// Bytes of its rows.
    pub fn byte_len(&self) -> usize {
        self.rgb.len() + self.audio.len()
    }

    /// Frames of all videos.
    pub fn frames(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// A part of the batch: `count` videos from `first` on.
    pub fn slice(&self, first: usize, count: usize) -> Batch {
        let end = first + count;
        let frames_before: usize = self.lengths[..first].iter().sum();
        let frames: usize = self.lengths[first..end].iter().sum();
        let rows = |data: &[u8]| {
            let width = if self.frames() == 0 { 0 } else { data.len() / self.frames() };
            data[frames_before * width..(frames_before + frames) * width].to_vec()
        };
        Batch {
            ids: self.ids[first..end].to_vec(),
            labels: self.labels[first..end].to_vec(),
            lengths: self.lengths[first..end].to_vec(),
            rgb: rows(&self.rgb),
            audio: rows(&self.audio),
        }
    }
}

/// How much of its epoch a step and those before it have used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EpochProgress {
    /// Steps of the epoch, this one included.
    pub steps: u64,
    /// Videos of those steps.
    pub samples: u64,
    /// The highest [`crate::payload::Lazy::position`] that one of those videos had.
    pub furthest: u64,
}

/// What a training or evaluation step works on: its batch, split into shards. A step comes whole through every
/// channel, so that no stage ever has to put parts back in order.
#[derive(Debug, Clone)]
pub struct Step {
    /// Steps before this one in the run, over all epochs.
    pub index: u64,
    /// The epoch its videos belong to, from 0.
    pub epoch: u64,
    /// How much of the epoch is used up.
    pub progress: EpochProgress,
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
        self.shards.iter().map(|s| s.byte_len()).sum()
    }
}

/// `examples` or `batches` whose rows are this wide, as ports declare them; without sizes the rows may be of
/// any width.
pub fn rows_of<T: Payload>(sizes: Option<(u64, u64)>) -> PayloadType {
    let payload = PayloadType::of::<T>();
    match sizes {
        None => payload,
        Some((rgb, audio)) => payload
            .tensor("rgb", "u8", vec![Dim::Named("frames"), Dim::Fixed(rgb)])
            .tensor("audio", "u8", vec![Dim::Named("frames"), Dim::Fixed(audio)]),
    }
}
