//! The input of a model: a batch of videos on one device.

use candle_core::{DType, Result, Tensor};

/// The videos of one shard on one device, packed. The frames of all videos lie one after another without padding. For
/// the video-level models, there is one row for each video.
#[derive(Clone, Debug)]
pub struct DeviceBatch {
    /// The visual rows, u8 [N, rgb_size]. Means are f32 or f64 [B, rgb_size].
    pub rgb: Tensor,
    /// The audio rows, u8 [N, audio_size]. Means are f32 or f64 [B, audio_size].
    pub audio: Tensor,
    /// The number of frames of each video, at least 1. Their sum is N. For means, all are 1.
    pub lengths: Vec<usize>,
}

impl DeviceBatch {
    /// The number of videos in the batch, B.
    pub fn videos(&self) -> usize {
        self.lengths.len()
    }

    /// Refuses what no model can compute: a batch without videos, a video without frames, and rows that do not fit the
    /// lengths.
    pub(crate) fn check(&self, rgb_size: usize, audio_size: usize) -> Result<()> {
        let frames: usize = self.lengths.iter().sum();
        if self.lengths.is_empty() {
            candle_core::bail!("a batch without videos");
        }
        if let Some(video) = self.lengths.iter().position(|frames| *frames == 0) {
            candle_core::bail!("video {video} of the batch has no frames");
        }
        for (name, rows, size) in [("rgb", &self.rgb, rgb_size), ("audio", &self.audio, audio_size)] {
            if rows.dtype() != DType::U8 || rows.dims() != [frames, size] {
                candle_core::bail!(
                    "the {name} rows of the batch are {:?} {:?}, expected U8 [{frames}, {size}]",
                    rows.dtype(),
                    rows.dims()
                );
            }
        }
        Ok(())
    }
}
