//! The feature sizes of a record, for tools that are given a file without a configuration.
//!
//! Law: sizes are only read here. Decoding with these sizes says whether the record is valid.

use super::{
    features::{ByteStrings, Floats, each_entry, each_value},
    wire::{Fields, WireError},
};

/// The level at which a record describes its video.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// A row of features for each frame.
    Frame,
    /// The means over all frames.
    Video,
}

/// The feature sizes of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// The level of the record.
    pub level: Level,
    /// The bytes of the first visual row, or the number of visual means.
    pub rgb_size: usize,
    /// The bytes of the first audio row, or the number of audio means.
    pub audio_size: usize,
}

/// The sizes of the record's first frame, or of its means. `None` if the payload is not such a message or holds
/// neither.
pub fn peek_sizes(data: &[u8]) -> Option<Sizes> {
    read(data).ok().flatten()
}

fn read(data: &[u8]) -> Result<Option<Sizes>, WireError> {
    let (mut rgb, mut audio, mut mean_rgb, mut mean_audio) = (None, None, None, None);
    let mut fields = Fields::of(data);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => each_entry(value.bytes()?, |key, entry| match key {
                b"mean_rgb" => mean_rgb = Some(entry),
                b"mean_audio" => mean_audio = Some(entry),
                _ => {}
            })?,
            2 => each_entry(value.bytes()?, |key, entry| match key {
                b"rgb" => rgb = Some(entry),
                b"audio" => audio = Some(entry),
                _ => {}
            })?,
            _ => {}
        }
    }
    if let (Some(rgb), Some(audio)) = (rgb, audio) {
        let sizes = first_frame(rgb)?.zip(first_frame(audio)?);
        return Ok(sizes.map(|(rgb_size, audio_size)| Sizes { level: Level::Frame, rgb_size, audio_size }));
    }
    let Some((rgb, audio)) = mean_rgb.zip(mean_audio) else { return Ok(None) };
    Ok(Some(Sizes { level: Level::Video, rgb_size: means(rgb)?, audio_size: means(audio)? }))
}

/// The bytes of the first frame of a feature list.
fn first_frame(entry: &[u8]) -> Result<Option<usize>, WireError> {
    let mut first = None;
    each_value(entry, |list| {
        let mut fields = Fields::of(list);
        while let (None, Some((number, value))) = (first, fields.next()?) {
            if number == 1 {
                let mut frame = ByteStrings::default();
                frame.merge(value.bytes()?)?;
                first = Some(frame.last.len());
            }
        }
        Ok::<_, WireError>(())
    })?;
    Ok(first)
}

fn means(entry: &[u8]) -> Result<usize, WireError> {
    let mut floats = Floats::default();
    each_value(entry, |feature| floats.merge(feature))?;
    Ok(floats.values.len())
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;
    use crate::{
        payload::{Example, Origin, Rows, VideoExample},
        tfrecord::{encode_frames, encode_video},
    };

    fn origin() -> Origin {
        Origin { file: Arc::from(Path::new("a.tfrecord")), record: 0, byte: 0 }
    }

    #[test]
    fn sizes_are_read_off_both_levels() {
        let frames = Example {
            id: "a".into(),
            labels: vec![3],
            frames: 2,
            rgb: Rows::packed(vec![7; 24], 2),
            audio: Rows::packed(vec![9; 6], 2),
            origin: origin(),
        };
        let expected = Sizes { level: Level::Frame, rgb_size: 12, audio_size: 3 };
        assert_eq!(peek_sizes(&encode_frames(&frames)), Some(expected));
        let video = VideoExample {
            id: "a".into(),
            labels: vec![],
            mean_rgb: vec![0.5; 5],
            mean_audio: vec![],
            origin: origin(),
        };
        let expected = Sizes { level: Level::Video, rgb_size: 5, audio_size: 0 };
        assert_eq!(peek_sizes(&encode_video(&video)), Some(expected));
    }

    #[test]
    fn other_bytes_have_no_sizes() {
        for data in [&b""[..], b"hello", &[0x0a, 0xff]] {
            assert_eq!(peek_sizes(data), None, "{data:?}");
        }
    }
}
