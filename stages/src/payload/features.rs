//! The two kinds of videos that travel: frame level, as bytes, and video level, as the means of the frames' features.
//!
//! One law: a stream holds one kind. Ports tell which by their tensors, `rgb u8[frames, 1024]` or
//! `mean_rgb f32[1024]`, so that `check` refuses to join a stage to the wrong kind.

use framewise_pipeline::{Dim, Payload, PayloadType};

use super::{Example, VideoExample};

/// A decoded video of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Video {
    /// Frame level.
    Frames(Example),
    /// Video level.
    Means(VideoExample),
}

impl Payload for Video {
    const NAME: &'static str = "examples";

    fn byte_len(&self) -> usize {
        match self {
            Self::Frames(example) => example.byte_len(),
            Self::Means(example) => example.byte_len(),
        }
    }
}

/// The features of a batch's videos, all of one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// The frames of all videos one after another, no padding.
    Frames {
        /// Frames of each video, at least 1.
        lengths: Vec<usize>,
        /// Visual rows, u8 [Σ lengths, rgb_size].
        rgb: Vec<u8>,
        /// Audio rows, u8 [Σ lengths, audio_size].
        audio: Vec<u8>,
    },
    /// One row a video.
    Means {
        /// Mean visual features, f32 [videos, rgb_size].
        rgb: Vec<f32>,
        /// Mean audio features, f32 [videos, audio_size].
        audio: Vec<f32>,
    },
}

impl Features {
    /// Bytes of all rows.
    pub fn byte_len(&self) -> usize {
        match self {
            Self::Frames { rgb, audio, .. } => rgb.len() + audio.len(),
            Self::Means { rgb, audio } => size_of_val(rgb.as_slice()) + size_of_val(audio.as_slice()),
        }
    }

    /// Those of `count` of `videos` videos, from `first` on.
    pub fn slice(&self, videos: usize, first: usize, count: usize) -> Self {
        match self {
            Self::Frames { lengths, rgb, audio } => {
                let rows = lengths.iter().sum();
                let before = lengths[..first].iter().sum();
                let kept = lengths[first..first + count].iter().sum();
                Self::Frames {
                    lengths: lengths[first..first + count].to_vec(),
                    rgb: cut(rgb, rows, before, kept),
                    audio: cut(audio, rows, before, kept),
                }
            }
            Self::Means { rgb, audio } => {
                Self::Means { rgb: cut(rgb, videos, first, count), audio: cut(audio, videos, first, count) }
            }
        }
    }

    /// Empty features of the same kind, with room for as many.
    pub fn emptied(&self) -> Self {
        match self {
            Self::Frames { lengths, rgb, audio } => Self::Frames {
                lengths: Vec::with_capacity(lengths.len()),
                rgb: Vec::with_capacity(rgb.len()),
                audio: Vec::with_capacity(audio.len()),
            },
            Self::Means { rgb, audio } => {
                Self::Means { rgb: Vec::with_capacity(rgb.len()), audio: Vec::with_capacity(audio.len()) }
            }
        }
    }
}

impl Default for Features {
    fn default() -> Self {
        Self::Frames { lengths: Vec::new(), rgb: Vec::new(), audio: Vec::new() }
    }
}

/// `count` rows from `first` on of `rows` rows.
fn cut<T: Clone>(data: &[T], rows: usize, first: usize, count: usize) -> Vec<T> {
    let width = data.len().checked_div(rows).unwrap_or(0);
    data[first * width..(first + count) * width].to_vec()
}

/// Widths of the two modalities: rgb_size, audio_size.
pub type Sizes = (u64, u64);

/// `examples` or `batches` of either kind and any width, as ports declare them.
pub fn any_of<T: Payload>() -> PayloadType {
    PayloadType::of::<T>()
}

/// `examples` or `batches` at frame level.
pub fn rows_of<T: Payload>((rgb, audio): Sizes) -> PayloadType {
    PayloadType::of::<T>().tensor("rgb", "u8", vec![Dim::Named("frames"), Dim::Fixed(rgb)]).tensor(
        "audio",
        "u8",
        vec![Dim::Named("frames"), Dim::Fixed(audio)],
    )
}

/// `examples` or `batches` at video level.
pub fn means_of<T: Payload>((rgb, audio): Sizes) -> PayloadType {
    PayloadType::of::<T>().tensor("mean_rgb", "f32", vec![Dim::Fixed(rgb)]).tensor(
        "mean_audio",
        "f32",
        vec![Dim::Fixed(audio)],
    )
}
