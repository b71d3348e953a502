//! A decoded video: its features as the file stores them, and its labels.
//!
//! Law: frames lie flat and packed, in exactly as many rows as there are frames. Nothing is padded here, and nothing is
//! dequantised.

use super::Origin;

/// A frame-level video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The video's id, never empty.
    pub id: String,
    /// Class indices, ascending and without duplicates. Empty where the video has no labels.
    pub labels: Vec<u32>,
    /// The number of frames, at least 1.
    pub frames: usize,
    /// Quantised visual features, u8 `[frames, rgb_size]`, row after row.
    pub rgb: Vec<u8>,
    /// Quantised audio features, u8 `[frames, audio_size]`, row after row.
    pub audio: Vec<u8>,
    /// The record that the video was decoded from.
    pub origin: Origin,
}

impl Example {
    /// The bytes that the video keeps alive: its features, labels and id.
    pub fn byte_len(&self) -> usize {
        self.rgb.len() + self.audio.len() + size_of_val(self.labels.as_slice()) + self.id.len()
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
