//! The sizes of the data set YouTube-8M of 2018, which are the defaults of everything that reads, draws or models it.

/// Visual features of a frame.
pub const RGB_SIZE: usize = 1024;

/// Audio features of a frame.
pub const AUDIO_SIZE: usize = 128;

/// Classes.
pub const CLASSES: usize = 3862;

/// Frames of the longest video.
pub const MAX_FRAMES: usize = 300;
