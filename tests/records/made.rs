//! Law: the record files that tests make for themselves contain what they should, and their damage is found for what it
//! is.

use std::io::Cursor;

use framewise_stages::payload::{Example, Record, VideoExample};
use framewise_stages::tfrecord::{
    DecodeOptions, ReadError, ReaderOptions, Reason, RecordError, RecordReader, decode_frames, decode_video,
};

use crate::support::cli::{Desk, copy_graph};
use crate::support::records::{Damage, Records};

fn options(rgb_size: usize, audio_size: usize) -> DecodeOptions {
    DecodeOptions { rgb_size, audio_size, classes: Some(10), ..DecodeOptions::default() }
}

/// The fate of each record, in order.
fn read<T>(
    records: &Records,
    decode: impl Fn(&Record) -> Result<T, RecordError>,
) -> Vec<Result<T, RecordError>> {
    let bytes = Cursor::new(records.bytes());
    let mut reader = RecordReader::over("made", bytes, ReaderOptions::default()).unwrap();
    std::iter::from_fn(|| reader.next())
        .map(|item| match item {
            Ok(record) => decode(&record),
            Err(ReadError::Bad(error)) => Err(error),
            Err(error) => panic!("{error}"),
        })
        .collect()
}

fn frames(records: &Records, options: &DecodeOptions) -> Vec<Result<Example, RecordError>> {
    read(records, |record| decode_frames(record, options))
}

#[test]
fn good_files_hold_the_videos_that_were_asked_for() {
    let sets = [
        (Records::frame_level(6), 6),
        (Records::frame_level(6).gzip(), 6),
        (Records::frame_level(0), 0),
        (Records::frame_level(0).gzip(), 0),
        (Records::frame_level(5).labels(|_| vec![]).ids(|n| format!("é{n}")).frames(|n| 1 + 40 * n), 5),
    ];
    for (records, videos) in sets {
        let found = frames(&records, &options(16, 4));
        assert_eq!(found.len(), videos);
        for (number, found) in found.into_iter().enumerate() {
            let found = found.unwrap();
            assert_eq!(found, Example { origin: found.origin.clone(), ..records.example(number) });
        }
    }
    let records = Records::video_level(4).sizes(8, 2).labels(|n| vec![1, 3 + n as u32]).gzip();
    let found = read(&records, |record| decode_video(record, &options(8, 2)));
    assert_eq!(found.len(), 4);
    for (number, found) in found.into_iter().enumerate() {
        let found = found.unwrap();
        assert_eq!(found, VideoExample { origin: found.origin.clone(), ..records.video_example(number) });
    }
    assert!(Records::frame_level(0).bytes().is_empty());
    assert!(Records::frame_level(0).gzip().bytes().starts_with(&[0x1f, 0x8b]));
}

#[test]
fn each_damage_is_found_in_its_record_and_spares_the_others() {
    // Each case is (damage, its record and reason, whether the records behind it are lost).
    let kinds = [
        (Damage::LengthCrc(0), 0, Reason::NotTfrecord, true),
        (Damage::LengthCrc(2), 2, Reason::LengthCrc, true),
        (Damage::DataCrc(2), 2, Reason::DataCrc, false),
        (Damage::Truncated(3), 3, Reason::Truncated, true),
        (Damage::IdNotUtf8(1), 1, Reason::IdNotUtf8, false),
        (Damage::Missing(1, "id"), 1, Reason::IdMissing, false),
        (Damage::Missing(4, "rgb"), 4, Reason::MissingFeature, false),
        (Damage::Missing(0, "audio"), 0, Reason::MissingFeature, false),
    ];
    for (damage, bad, reason, ends) in kinds {
        for packed in [false, true] {
            let records = Records::frame_level(5).damage(damage);
            let records = if packed { records.gzip() } else { records };
            let found = frames(&records, &options(16, 4));
            let last = if ends { bad } else { 4 };
            assert_eq!(found.len(), last + 1, "{damage:?}");
            for (number, found) in found.into_iter().enumerate() {
                match found {
                    Err(error) => assert_eq!((number, error.reason), (bad, reason), "{damage:?}: {error}"),
                    Ok(found) => {
                        assert_ne!(number, bad, "{damage:?}");
                        assert_eq!((found.id, found.rgb), {
                            let wanted = records.example(number);
                            (wanted.id, wanted.rgb)
                        });
                    }
                }
            }
        }
    }
    let records = Records::frame_level(2).damage(Damage::Missing(1, "labels"));
    let labels: Vec<_> =
        frames(&records, &options(16, 4)).into_iter().map(|found| found.unwrap().labels).collect();
    assert_eq!(labels, [vec![0], vec![]], "labels may be absent");

    let records = Records::video_level(3)
        .damage(Damage::Missing(0, "mean_audio"))
        .damage(Damage::IdNotUtf8(2))
        .damage(Damage::DataCrc(1));
    let found = read(&records, |record| decode_video(record, &options(16, 4)));
    let reasons: Vec<_> = found.into_iter().map(|found| found.unwrap_err().reason).collect();
    assert_eq!(reasons, [Reason::MissingFeature, Reason::DataCrc, Reason::IdNotUtf8]);
}

#[test]
fn the_program_copies_them_and_tells_of_bytes_behind_gzip() {
    let desk = Desk::new();
    let files = Records::frame_level(7).gzip().write(&desk.path("good.tfrecord.gz"));
    desk.write("copy.toml", &copy_graph(&files, 16, 4, 10));
    let (said, result) = desk.run_json(&["copy.toml", "--run-dir", "good"]);
    said.expect(0);
    let decode = result["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "decode");
    assert_eq!(decode.unwrap()["items_out"], 7);

    let garbage = Records::frame_level(7).gzip().damage(Damage::GarbageAfterGzip);
    let files = garbage.write(&desk.path("garbage.tfrecord.gz"));
    desk.write("copy.toml", &copy_graph(&files, 16, 4, 10));
    let said = desk.framewise(&["run", "copy.toml", "--run-dir", "garbage"]).expect(65);
    assert!(said.err.contains("garbage.tfrecord.gz: record 7 at byte "), "{}", said.err);
    // The records before it are good.
    let args = ["copy.toml", "--run-dir", "skipped", "--set", "stages.videos.on_error=skip"];
    let (said, result) = desk.run_json(&args);
    said.expect(0);
    let stage = |name: &str| result["stages"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap();
    assert_eq!(stage("videos")["rejected"], serde_json::json!({"trailing_garbage": 1}));
    assert_eq!(stage("decode")["items_out"], 7);
}
