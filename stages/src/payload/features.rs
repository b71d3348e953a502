//! The two kinds of videos that travel: frame-level videos, as bytes, and video-level videos, as the means of the
//! frames' features.
//!
//! Law: a stream holds one kind. Ports say which kind by their tensors, `rgb u8[frames, 1024]` or `mean_rgb f32[1024]`,
//! so that `check` refuses to connect a stage to the wrong kind.

use framewise_pipeline::{Dim, Payload, PayloadType};

use super::{Example, VideoExample};

/// A decoded video of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Video {
    /// A frame-level video.
    Frames(Example),
    /// A video-level video.
    Means(VideoExample),
}

impl Video {
    /// Class indices, ascending and without duplicates. Empty where the video has no labels.
    pub fn labels(&self) -> &[u32] {
        match self {
            Self::Frames(example) => &example.labels,
            Self::Means(example) => &example.labels,
        }
    }
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
    /// The features of frame-level videos: the frames of all videos one after another, without padding.
    Frames {
        /// The number of frames of each video, at least 1.
        lengths: Vec<usize>,
        /// Visual rows, u8 [Σ lengths, rgb_size].
        rgb: Vec<u8>,
        /// Audio rows, u8 [Σ lengths, audio_size].
        audio: Vec<u8>,
    },
    /// The features of video-level videos: one row for each video.
    Means {
        /// Mean visual features, f32 [videos, rgb_size].
        rgb: Vec<f32>,
        /// Mean audio features, f32 [videos, audio_size].
        audio: Vec<f32>,
    },
}

impl Features {
    /// The bytes of all rows.
    pub fn byte_len(&self) -> usize {
        match self {
            Self::Frames { rgb, audio, .. } => rgb.len() + audio.len(),
            Self::Means { rgb, audio } => size_of_val(rgb.as_slice()) + size_of_val(audio.as_slice()),
        }
    }

    /// The features of `count` videos from video `first` on. `videos` is the number of videos that `self` holds.
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

    /// The numbers of visual and of audio values.
    pub fn values(&self) -> (usize, usize) {
        match self {
            Self::Frames { rgb, audio, .. } => (rgb.len(), audio.len()),
            Self::Means { rgb, audio } => (rgb.len(), audio.len()),
        }
    }

    /// Empty features of the same kind, with room for so many visual and audio values.
    pub fn emptied(&self, (rgb, audio): (usize, usize)) -> Self {
        match self {
            Self::Frames { lengths, .. } => Self::Frames {
                lengths: Vec::with_capacity(lengths.len()),
                rgb: Vec::with_capacity(rgb),
                audio: Vec::with_capacity(audio),
            },
            Self::Means { .. } => {
                Self::Means { rgb: Vec::with_capacity(rgb), audio: Vec::with_capacity(audio) }
            }
        }
    }
}

impl Default for Features {
    fn default() -> Self {
        Self::Frames { lengths: Vec::new(), rgb: Vec::new(), audio: Vec::new() }
    }
}

/// Copies `count` rows of `data`, from row `first` on. `rows` is the number of rows in `data`.
fn cut<T: Clone>(data: &[T], rows: usize, first: usize, count: usize) -> Vec<T> {
    let width = data.len().checked_div(rows).unwrap_or(0);
    data[first * width..(first + count) * width].to_vec()
}

/// The widths of the two modalities: (rgb_size, audio_size).
pub type Sizes = (u64, u64);

/// The payload type of a port that takes or sends `examples` or `batches` of either kind and any width.
pub fn any_of<T: Payload>() -> PayloadType {
    PayloadType::of::<T>()
}

/// The payload type of a port that takes or sends `examples` or `batches` at frame level.
pub fn rows_of<T: Payload>((rgb, audio): Sizes) -> PayloadType {
    PayloadType::of::<T>().tensor("rgb", "u8", vec![Dim::Named("frames"), Dim::Fixed(rgb)]).tensor(
        "audio",
        "u8",
        vec![Dim::Named("frames"), Dim::Fixed(audio)],
    )
}

/// The payload type of a port that takes or sends `examples` or `batches` at video level.
pub fn means_of<T: Payload>((rgb, audio): Sizes) -> PayloadType {
    PayloadType::of::<T>().tensor("mean_rgb", "f32", vec![Dim::Fixed(rgb)]).tensor(
        "mean_audio",
        "f32",
        vec![Dim::Fixed(audio)],
    )
}
