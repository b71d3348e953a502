//! The fuzz target for the decoders of a record's payload, at frame level (`SequenceExample`) and at video level
//! (`Example`), and for the readers that only look at parts of it.

use std::path::Path;
use std::sync::Arc;

use framewise_stages::payload::{Origin, Record};
use framewise_stages::tfrecord::{
    DEFAULT_ID_KEYS, DecodeOptions, RecordError, decode_frames, decode_video, encode_frames, encode_video,
    peek_id, peek_sizes,
};

use crate::counting::peak;

const RGB: usize = 4;
const AUDIO: usize = 2;
const FRAMES: usize = 6;
const CLASSES: u32 = 10;

fn record(data: Vec<u8>) -> Record {
    Record { origin: Origin { file: Arc::from(Path::new("fuzz")), record: 0, byte: 0 }, data: data.into() }
}

/// Asserts the laws of decoding for this payload.
pub fn check(data: &[u8]) {
    let options = DecodeOptions {
        rgb_size: RGB,
        audio_size: AUDIO,
        max_frames: FRAMES,
        classes: Some(CLASSES as usize),
        ..DecodeOptions::default()
    };
    let record = record(data.to_vec());
    let (mut frames, mut video) = (None, None);
    let used = peak(|| {
        frames = Some(decode_frames(&record, &options));
        video = Some(decode_video(&record, &options));
        peek_id(&record.data, &DEFAULT_ID_KEYS);
        peek_sizes(&record.data);
    });
    // For each of the two decoders, features, labels and id take at most the bytes of the payload, doubled while a list
    // grows. Messages are short.
    assert!(used <= 8 * data.len() + 4096, "{used} bytes for a payload of {}", data.len());
    match frames.expect("decoded above") {
        Ok(example) => {
            assert_eq!((example.rgb.len(), example.rgb.width()), (example.frames, RGB));
            assert_eq!((example.audio.len(), example.audio.width()), (example.frames, AUDIO));
            assert!((1..=FRAMES).contains(&example.frames) && !example.id.is_empty());
            assert_labels(&example.labels);
            let again = decode_frames(&self::record(encode_frames(&example)), &options);
            assert_eq!(again.expect("what was decoded can be written and read"), example);
        }
        Err(error) => assert_content(&error),
    }
    match video.expect("decoded above") {
        Ok(video) => {
            assert_eq!((video.mean_rgb.len(), video.mean_audio.len()), (RGB, AUDIO));
            assert!(video.mean_rgb.iter().chain(&video.mean_audio).all(|mean| mean.is_finite()));
            assert_labels(&video.labels);
            let again = decode_video(&self::record(encode_video(&video)), &options);
            assert_eq!(again.expect("what was decoded can be written and read"), video);
        }
        Err(error) => assert_content(&error),
    }
}

fn assert_labels(labels: &[u32]) {
    assert!(labels.is_sorted_by(|a, b| a < b) && labels.iter().all(|&label| label < CLASSES));
}

/// Asserts that an error is one of a record's content, and that its text is one short line.
fn assert_content(error: &RecordError) {
    assert!(!error.ends_file());
    let text = error.to_string();
    assert!(text.starts_with("fuzz: record 0 at byte 0") && text.len() < 1000, "{text}");
}
