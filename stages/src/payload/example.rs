//! A decoded video: its features as the file stores them, and its labels.
//!
//! Law: both modalities have exactly as many rows as there are frames. Nothing is padded here, and nothing is dequantised.

use super::{Origin, Rows};

/// A frame-level video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The video's id, never empty.
    pub id: String,
    /// Class indices, ascending and without duplicates. Empty where the video has no labels.
    pub labels: Vec<u32>,
    /// The number of frames, at least 1.
    pub frames: usize,
    /// Quantised visual features, u8 `[frames, rgb_size]`.
    pub rgb: Rows,
    /// Quantised audio features, u8 `[frames, audio_size]`.
    pub audio: Rows,
    /// The record that the video was decoded from.
    pub origin: Origin,
}

impl Example {
    /// The bytes that the video keeps alive: its features with the record in which they lie, labels and id.
    pub fn byte_len(&self) -> usize {
        self.rgb.byte_len_with(&self.audio) + size_of_val(self.labels.as_slice()) + self.id.len()
    }
}

/// A video-level video: the means of its frames' features.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoExample {
    /// The video's id, never empty.
    pub id: String,
    /// Class indices, ascending and without duplicates. Empty where the video has no labels.
    pub labels: Vec<u32>,
    /// Mean visual features, `[rgb_size]`, all finite.
    pub mean_rgb: Vec<f32>,
    /// Mean audio features, `[audio_size]`, all finite.
    pub mean_audio: Vec<f32>,
    /// The record that the video was decoded from.
    pub origin: Origin,
}

impl VideoExample {
    /// The bytes that the video keeps alive: its features, labels and id.
    pub fn byte_len(&self) -> usize {
        size_of_val(self.mean_rgb.as_slice())
            + size_of_val(self.mean_audio.as_slice())
            + size_of_val(self.labels.as_slice())
            + self.id.len()
    }
}
