//! Every file of the golden manifest reads exactly as its entry says, both when errors end the run and when they are
//! skipped.

use crate::common::{data, sha256};
use framewise_stages::{
    payload::{Example, Origin, Record, VideoExample},
    tfrecord::{
        DecodeOptions, ReadError, ReaderOptions, Reason, RecordError, RecordReader, decode_frames,
        decode_video,
    },
};
use serde_json::Value;

/// What becomes of each record of a file, in order, when errors are skipped.
fn read<T>(
    name: &str,
    options: &DecodeOptions,
    decode: fn(&Record, &DecodeOptions) -> Result<T, RecordError>,
) -> Vec<Result<T, RecordError>> {
    let path = data("golden/tfrecord").join(name);
    let mut reader = RecordReader::open(&path, ReaderOptions::default()).unwrap();
    std::iter::from_fn(|| reader.next())
        .map(|item| match item {
            Ok(record) => decode(&record, options),
            Err(ReadError::Bad(error)) => Err(error),
            Err(error) => panic!("{error}"),
        })
        .collect()
}

fn frames(name: &str) -> Vec<Result<Example, RecordError>> {
    read(name, &DecodeOptions { max_frames: 10_000, ..DecodeOptions::default() }, decode_frames)
}

fn manifest() -> serde_json::Map<String, Value> {
    let text = std::fs::read(data("golden/tfrecord/manifest.json")).unwrap();
    let Value::Object(files) = serde_json::from_slice::<Value>(&text).unwrap()["files"].take() else {
        panic!()
    };
    files
}

fn labels_of(expected: &Value) -> Vec<u32> {
    // A model sees labels as a multi-hot vector, so they are sorted and without repeats.
    let mut labels: Vec<u32> = serde_json::from_value(expected["labels"].clone()).unwrap();
    labels.sort_unstable();
    labels.dedup();
    labels
}

fn assert_example(name: &str, example: &Example, expected: &Value) {
    assert_eq!(example.id, expected["id"], "{name}");
    assert_eq!(example.labels, labels_of(expected), "{name}");
    assert_eq!(example.frames as u64, expected["frames"], "{name}");
    for (what, rows) in [("rgb", &example.rgb), ("audio", &example.audio)] {
        let shape: Vec<usize> = serde_json::from_value(expected[format!("{what}_shape")].clone()).unwrap();
        assert_eq!([rows.len(), rows.width()], shape[..], "{name}");
        let bytes = rows.to_vec();
        assert_eq!(sha256(&bytes), expected[format!("{what}_sha256")], "{name}");
        assert_eq!(
            bytes.iter().map(|&b| u64::from(b)).sum::<u64>(),
            expected[format!("{what}_sum")],
            "{name}"
        );
    }
    assert_eq!(serde_json::to_value(&example.rgb.row(0)[..8]).unwrap(), expected["rgb_first8"], "{name}");
}

/// The reason that belongs to the words of the manifest.
fn reason(name: &str, words: &str) -> Reason {
    match words {
        "truncated record" | "truncated header" | "truncated footer" | "unexpected end of gzip stream" => {
            Reason::Truncated
        }
        "corrupt length crc" => Reason::LengthCrc,
        "corrupt length crc (record 0)" => Reason::NotTfrecord,
        "corrupt data crc" => Reason::DataCrc,
        "rgb frame 2: 1000 bytes, expected 1024" => Reason::FrameSize,
        "no feature list 'audio'" => Reason::MissingFeature,
        "rgb has 4 frames, audio 3" => Reason::FrameCountMismatch,
        "label 3862 >= num_classes 3862" | "negative label" => Reason::LabelOutOfRange,
        "0 frames" => Reason::NoFrames,
        "protobuf" => Reason::BadProto,
        _ => panic!("{name}: no reason for {words:?}"),
    }
}

#[test]
fn good_files_give_the_values_of_the_manifest() {
    let mut checked = 0;
    for (name, file) in manifest() {
        let expect = file["expect"].as_str().unwrap();
        // The manifest allows a reader to refuse ZLIB and `video_id`. This reader reads them.
        if !["ok", "ok_unlabelled", "ok_or_clear_error"].contains(&expect) {
            continue;
        }
        let records = file["records"].as_array().unwrap();
        let read = frames(&name);
        assert_eq!(read.len(), records.len(), "{name}");
        for (at, (found, expected)) in read.iter().zip(records).enumerate() {
            let example = found.as_ref().unwrap();
            assert_example(&name, example, expected);
            assert_eq!(example.origin.record, at as u64);
            if let Some(frames) = file["frames"].as_array() {
                assert_eq!(example.origin.byte, frames[at][0], "{name}");
            }
        }
        checked += 1;
    }
    assert_eq!(checked, 10);
}

#[test]
fn damaged_files_are_refused_where_and_why_the_manifest_says() {
    let mut checked = 0;
    for (name, file) in manifest() {
        let expect = file["expect"].as_str().unwrap();
        if expect != "error" && expect != "error_record" {
            continue;
        }
        let read = frames(&name);
        let reason = reason(&name, file["error"].as_str().unwrap());
        let first = read.iter().position(Result::is_err).unwrap();
        let error = read[first].as_ref().unwrap_err();
        assert_eq!(error.reason, reason, "{name}: {error}");
        assert_eq!(error.origin.record, first as u64, "{name}");
        if let Some(record) = file["error_record"].as_u64() {
            assert_eq!(first as u64, record, "{name}: {error}");
        }
        if let Some(offset) = file["error_offset"].as_u64() {
            assert_eq!(error.origin.byte, offset, "{name}: {error}");
        }
        for (found, expected) in read.iter().zip(file["records"].as_array().unwrap_or(&Vec::new())) {
            match found {
                Ok(example) => assert_example(&name, example, expected),
                Err(_) => assert!(expected.is_null(), "{name}"),
            }
        }
        // Under `skip`, either one record is lost or the rest of the file.
        let errors = read.iter().filter(|found| found.is_err()).count();
        assert_eq!(errors, 1, "{name}");
        assert_eq!(
            error.ends_file(),
            matches!(reason, Reason::Truncated | Reason::LengthCrc | Reason::NotTfrecord)
        );
        if error.ends_file() {
            assert_eq!(first + 1, read.len(), "{name}");
        } else if expect == "error_record" {
            assert_eq!(read.len(), file["records"].as_array().unwrap().len(), "{name}");
        }
        checked += 1;
    }
    assert_eq!(checked, 17);
}

#[test]
fn reading_goes_on_after_a_bad_data_crc() {
    let plain: Vec<Example> = frames("plain.tfrecord").into_iter().map(Result::unwrap).collect();
    for (name, bad, id) in [("bad_data_crc.tfrecord", 1, "v7101"), ("bad_data_byte.tfrecord", 2, "v7102")] {
        let read = frames(name);
        assert_eq!(read.len(), 4);
        for (at, found) in read.iter().enumerate() {
            match found {
                Ok(example) => assert_eq!(
                    (&example.id, &example.rgb, &example.origin.byte),
                    (&plain[at].id, &plain[at].rgb, &plain[at].origin.byte)
                ),
                Err(error) => {
                    assert_eq!(at, bad);
                    let path = data("golden/tfrecord").join(name);
                    let byte = plain[at].origin.byte;
                    let expected = format!(
                        "{}: record {at} at byte {byte} (id \"{id}\"): data CRC mismatch",
                        path.display()
                    );
                    assert_eq!(error.to_string(), expected);
                }
            }
        }
    }
}

#[test]
fn data_crcs_can_be_left_unchecked() {
    let path = data("golden/tfrecord/bad_data_crc.tfrecord");
    let mut reader =
        RecordReader::open(path, ReaderOptions { verify_data_crc: false, ..ReaderOptions::default() })
            .unwrap();
    let good = std::iter::from_fn(|| reader.next()).filter(|record| record.is_ok()).count();
    assert_eq!(good, 4);
}

#[test]
fn a_truncated_gzip_stream_gives_what_comes_before() {
    let read = frames("gzip_truncated.tfrecord.gz");
    // TensorFlow reads two records and refuses the one at 7184.
    assert_eq!(read.len(), 3);
    let error = read[2].as_ref().unwrap_err();
    assert_eq!((error.reason, error.origin.byte), (Reason::Truncated, 7184));
    assert!(error.to_string().contains("unexpected end of the gzip stream"), "{error}");
}

#[test]
fn the_first_frames_are_kept() {
    let file = &manifest()["frames_300_310.tfrecord.gz"];
    let read = read("frames_300_310.tfrecord.gz", &DecodeOptions::default(), decode_frames);
    let second = read[1].as_ref().unwrap();
    assert_eq!(second.frames, 300);
    assert_eq!(sha256(&second.rgb.to_vec()), file["truncated_300"]["rgb_sha256"]);
    assert_eq!(sha256(&second.audio.to_vec()), file["truncated_300"]["audio_sha256"]);
}

#[test]
fn video_level_records_decode_as_what_they_are() {
    let file = &manifest()["video_level.tfrecord"];
    assert_eq!(file["expect"], "ok_as_video_level");
    let read: Vec<Result<VideoExample, _>> =
        read("video_level.tfrecord", &DecodeOptions::default(), decode_video);
    let records = file["records"].as_array().unwrap();
    assert_eq!(read.len(), records.len());
    for (found, expected) in read.into_iter().zip(records) {
        let video = found.unwrap();
        assert_eq!(video.id, expected["id"]);
        assert_eq!(video.labels, labels_of(expected));
        let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        assert_eq!(sha256(&bytes(&video.mean_rgb)), expected["mean_rgb_sha256_f32le"]);
        assert_eq!(sha256(&bytes(&video.mean_audio)), expected["mean_audio_sha256_f32le"]);
        for (value, expected) in video.mean_rgb.iter().zip(expected["mean_rgb_first4"].as_array().unwrap()) {
            assert_eq!(f64::from(*value), expected.as_f64().unwrap());
        }
    }
    for (name, told) in [("video_level.tfrecord", "video-level"), ("plain.tfrecord", "frame-level")] {
        let error = if told == "video-level" {
            frames(name).swap_remove(0).unwrap_err()
        } else {
            self::read(name, &DecodeOptions::default(), decode_video).swap_remove(0).unwrap_err()
        };
        assert_eq!(error.reason, Reason::MissingFeature);
        assert!(error.id.is_some());
        assert!(error.to_string().contains(&format!("this is a {told} record")), "{error}");
    }
}

#[test]
fn every_file_of_the_manifest_is_covered() {
    assert_eq!(manifest().len(), 10 + 17 + 1);
}

#[test]
fn skipping_lands_where_reading_does() {
    for name in ["plain.tfrecord", "gzip.tfrecord.gz", "zlib.tfrecord.z", "bad_data_crc.tfrecord"] {
        let path = data("golden/tfrecord").join(name);
        let open = || RecordReader::open(&path, ReaderOptions::default()).unwrap();
        let mut walked: Vec<Origin> = Vec::new();
        let mut reader = open();
        loop {
            walked.push(reader.origin());
            if reader.next().is_none() {
                break;
            }
        }
        let records = walked.len() as u64 - 1;
        for count in 0..=records + 2 {
            let mut reader = open();
            assert_eq!(reader.skip(count).unwrap(), count.min(records), "{name}");
            assert_eq!(reader.origin(), walked[count.min(records) as usize], "{name}");
            if let Some(Ok(record)) = reader.next() {
                assert_eq!(record.origin, walked[count as usize]);
            }
        }
    }
}

#[test]
fn skipping_meets_the_same_ends_as_reading() {
    for (name, file) in manifest() {
        if file["expect"] != "error" || file["error"] == "corrupt data crc" {
            continue;
        }
        let path = data("golden/tfrecord").join(&name);
        let mut reader = RecordReader::open(path, ReaderOptions::default()).unwrap();
        let Err(ReadError::Bad(error)) = reader.skip(u64::MAX) else { panic!("{name}") };
        let expected = frames(&name).pop().unwrap().unwrap_err();
        assert_eq!((error.reason, error.origin), (expected.reason, expected.origin), "{name}");
        assert!(reader.next().is_none());
        assert_eq!(reader.skip(1).unwrap(), 0);
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = RecordReader::open("no/such/shard.tfrecord", ReaderOptions::default()).err().unwrap();
    assert!(error.to_string().starts_with("no/such/shard.tfrecord: "), "{error}");
    let folder = RecordReader::open(data("golden"), ReaderOptions::default()).err().unwrap();
    assert!(matches!(folder, ReadError::Io { .. }));
}

#[test]
fn the_bundled_real_data_reads_whole() {
    let info: Value =
        serde_json::from_slice(&std::fs::read(data("japanese_vowels/dataset.json")).unwrap()).unwrap();
    let options = DecodeOptions {
        rgb_size: 12,
        audio_size: 12,
        max_frames: 300,
        classes: Some(9),
        ..DecodeOptions::default()
    };
    for split in ["train", "test"] {
        let path = data("japanese_vowels").join(format!("{split}.tfrecord"));
        let mut reader = RecordReader::open(path, ReaderOptions::default()).unwrap();
        let mut per_class = vec![0; 9];
        let (mut frames, mut videos) = (0, 0);
        while let Some(record) = reader.next() {
            let example = decode_frames(&record.unwrap(), &options).unwrap();
            let [label] = example.labels[..] else { panic!("{} has {:?}", example.id, example.labels) };
            per_class[label as usize] += 1;
            frames += example.frames;
            videos += 1;
        }
        assert_eq!(info[split]["videos"], videos);
        assert_eq!(info[split]["frames"], frames);
        assert_eq!(info[split]["per_class"], serde_json::to_value(per_class).unwrap());
    }
}

#[test]
fn the_checksum_of_these_tests_is_sha_256() {
    // These are the examples of FIPS 180-4.
    assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(
        sha256(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    );
}
