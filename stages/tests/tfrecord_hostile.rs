//! Law: whatever the bytes are, framing and decoding do not panic and allocate no more than the bytes that are there
//! justify.
//!
//! This file holds a single test, because the allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/counting.rs"]
mod counting;

use std::{io::Cursor, sync::Arc};

use common::Damage;
use counting::peak;
use framewise_stages::{
    payload::{Example, Origin, Record, Rows, VideoExample},
    synthetic::{SyntheticConfig, SyntheticVideos},
    tfrecord::{
        Compression, DEFAULT_ID_KEYS, DecodeOptions, ReadError, ReaderOptions, RecordReader, RecordWriter,
        decode_frames, decode_video, encode_frames, encode_video, peek_id,
    },
};

const OPTIONS_MAX_FRAMES: usize = 6;

fn options() -> DecodeOptions {
    DecodeOptions {
        rgb_size: 4,
        audio_size: 2,
        max_frames: OPTIONS_MAX_FRAMES,
        classes: Some(10),
        ..DecodeOptions::default()
    }
}

fn origin() -> Origin {
    Origin { file: Arc::from(std::path::Path::new("hostile")), record: 0, byte: 0 }
}

/// Good payloads of both kinds, which the test damages.
fn payloads() -> Vec<Vec<u8>> {
    let world = SyntheticVideos::new(SyntheticConfig {
        classes: 10,
        rgb_size: 4,
        audio_size: 2,
        min_frames: 1,
        max_frames: 8,
        latent: 2,
        ..SyntheticConfig::default()
    })
    .unwrap();
    let frames = (0..20).map(|index| encode_frames(&world.video(index)));
    let means = (0..5).map(|index| {
        encode_video(&VideoExample {
            id: format!("m{index}"),
            labels: vec![1, 5],
            mean_rgb: vec![0.5; 4],
            mean_audio: vec![-1.0; 2],
            origin: origin(),
        })
    });
    frames.chain(means).collect()
}

#[test]
fn no_input_panics_or_allocates_beyond_its_size() {
    let payloads = payloads();
    let mut damage = Damage::new(1);
    let (mut good, mut bad) = (0, 0);
    for round in 0..160_000 {
        let mut data = payloads[damage.below(payloads.len())].clone();
        if round % 8 == 0 {
            let length = damage.below(200);
            data = damage.bytes(length);
        } else {
            let other = damage.below(payloads.len());
            damage.mutate(&mut data, &payloads[other]);
        }
        let length = data.len();
        let record = Record { origin: origin(), data: data.into() };
        let options = options();
        let used = peak(|| {
            let frames = decode_frames(&record, &options);
            match frames {
                Ok(example) => {
                    good += 1;
                    assert_eq!((example.rgb.len(), example.rgb.width()), (example.frames, 4));
                    assert_eq!((example.audio.len(), example.audio.width()), (example.frames, 2));
                    assert!((1..=OPTIONS_MAX_FRAMES).contains(&example.frames));
                    assert!(!example.id.is_empty());
                    assert!(example.labels.iter().all(|&label| label < 10));
                    assert!(example.labels.is_sorted_by(|a, b| a < b));
                }
                Err(error) => {
                    bad += 1;
                    assert!(!error.ends_file());
                }
            }
            drop(decode_video(&record, &options));
            peek_id(&record.data, &DEFAULT_ID_KEYS);
        });
        // Features, labels and id take at most the bytes of the payload, doubled while a list grows. Messages are
        // short.
        assert!(used <= 4 * length + 2048, "{used} bytes for a payload of {length}");
    }
    assert!(good > 5_000 && bad > 50_000, "{good} good, {bad} bad: the test would prove little");

    // Four million labels that are all the same cost no more than the record that holds them.
    let example = Example {
        id: "abc".to_owned(),
        labels: vec![3; 4 << 20],
        frames: 1,
        rgb: Rows::packed(vec![1; 4], 1),
        audio: Rows::packed(vec![2; 2], 1),
        origin: origin(),
    };
    let data = encode_frames(&example);
    let record = Record { origin: origin(), data: data.into() };
    let used = peak(|| assert_eq!(decode_frames(&record, &options()).unwrap().labels, [3]));
    assert!(used < 64 << 10, "{used} bytes");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile");
    let (mut records, mut errors) = (0, 0);
    for (files, compression) in [(32_000, Compression::None), (8_000, Compression::Gzip)] {
        let mut writer = RecordWriter::create(&path, compression).unwrap();
        for payload in &payloads[..4] {
            writer.write(payload).unwrap();
        }
        writer.finish().unwrap();
        let whole = std::fs::read(&path).unwrap();
        for round in 0..files {
            let mut bytes = whole.clone();
            if round % 8 == 0 {
                let length = damage.below(300);
                bytes = damage.bytes(length);
            } else {
                damage.mutate(&mut bytes, &whole);
            }
            // Some inputs go through the file system, where the reader seeks in plain files. Most come from memory,
            // which is faster.
            let on_disk = round % 40 == 1;
            if on_disk {
                std::fs::write(&path, &bytes).unwrap();
            }
            let open = |options: &ReaderOptions| match on_disk {
                true => RecordReader::open(&path, options.clone()).unwrap(),
                false => RecordReader::over("memory", Cursor::new(bytes.clone()), options.clone()).unwrap(),
            };
            let used = peak(|| {
                let options = ReaderOptions { verify_data_crc: round % 3 != 0, ..ReaderOptions::default() };
                let mut reader = open(&options);
                let mut ended = false;
                while let Some(item) = reader.next() {
                    assert!(!ended, "nothing follows an error that ends the file");
                    match item {
                        Ok(_) => records += 1,
                        Err(ReadError::Bad(error)) => {
                            errors += 1;
                            ended = error.ends_file();
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                assert!(reader.next().is_none());
                let mut reader = open(&options);
                match reader.skip(u64::MAX) {
                    Ok(_) => assert!(!ended),
                    Err(_) => assert!(ended),
                }
            });
            // The reader reserves a mebibyte before the first byte of a record. Buffers and a decompressor take less.
            assert!(used <= (2 << 20) + 2 * bytes.len(), "{used} bytes for a file of {}", bytes.len());
        }
    }
    assert!(records > 20_000 && errors > 20_000, "{records} records, {errors} errors");
}
