//! Law: for every golden record file, as it is and packed by GZIP, under `fail` and under `skip`, the binary's exit
//! code, its counts, what it copies, and the lines of `rejected.jsonl` are those that follow from the manifest.

use std::io::Read;

use framewise_stages::tfrecord::{DecodeOptions, ReaderOptions, RecordReader, decode_frames};
use serde_json::Value;

use crate::support::cli::{Desk, copy_graph, data};
use crate::support::records::pack;

/// What must come out for a file.
struct Expected {
    /// The ids of the good records, in order.
    ids: Vec<String>,
    /// The index, byte offset and reason of each bad record.
    bad: Vec<(u64, u64, &'static str)>,
    /// The stage that refuses the bad records.
    stage: &'static str,
}

/// The reason that belongs to the manifest's words, and the stage that gives it.
fn reason(words: &str) -> (&'static str, &'static str) {
    match words {
        "truncated record" | "truncated header" | "truncated footer" | "unexpected end of gzip stream" => {
            ("videos", "truncated")
        }
        "corrupt length crc" => ("videos", "length_crc"),
        "corrupt length crc (record 0)" => ("videos", "not_tfrecord"),
        "corrupt data crc" => ("videos", "data_crc"),
        "rgb frame 2: 1000 bytes, expected 1024" => ("decode", "frame_size"),
        "no feature list 'audio'" => ("decode", "missing_feature"),
        "rgb has 4 frames, audio 3" => ("decode", "frame_count_mismatch"),
        "label 3862 >= num_classes 3862" | "negative label" => ("decode", "label_out_of_range"),
        "0 frames" => ("decode", "no_frames"),
        "protobuf" => ("decode", "bad_proto"),
        other => panic!("no reason for {other:?}"),
    }
}

/// The framed records of a file, unpacked as far as possible.
fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    // A cut stream gives what lies before the cut.
    match bytes {
        [0x1f, 0x8b, ..] => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain)),
        [0x78, ..] => drop(flate2::read::ZlibDecoder::new(bytes).read_to_end(&mut plain)),
        _ => plain.extend_from_slice(bytes),
    }
    plain
}

/// The offset of record `index`, from the lengths of the records before it.
fn offset(plain: &[u8], index: u64) -> u64 {
    (0..index).fold(0, |at, _| {
        let length = plain[at as usize..][..8].try_into().unwrap();
        at + 16 + u64::from_le_bytes(length)
    })
}

fn expected(file: &Value, plain: &[u8]) -> Expected {
    let records = file["records"].as_array();
    let id = |record: &Value| record["id"].as_str().map(str::to_owned);
    if file["expect"] == "ok_as_video_level" {
        let bad = 0..records.unwrap().len() as u64;
        let bad = bad.map(|index| (index, offset(plain, index), "missing_feature")).collect();
        return Expected { ids: Vec::new(), bad, stage: "decode" };
    }
    let Some(words) = file["error"].as_str() else {
        let ids: Vec<String> = records.unwrap().iter().map(|record| id(record).unwrap()).collect();
        return Expected { ids, bad: Vec::new(), stage: "" };
    };
    let (stage, reason) = reason(words);
    // The cut GZIP stream has no record of its own in the manifest; TensorFlow reads two records of it.
    let index = file["error_record"].as_u64().unwrap_or(2);
    Expected { ids: Vec::new(), bad: vec![(index, offset(plain, index), reason)], stage }
}

/// The ids of the videos that a run copied.
fn copied(desk: &Desk, run: &str) -> Vec<String> {
    let mut reader =
        RecordReader::open(desk.path(run).join("copy.tfrecord"), ReaderOptions::default()).unwrap();
    let options = DecodeOptions::default();
    std::iter::from_fn(|| reader.next())
        .map(|record| decode_frames(&record.unwrap(), &options).unwrap().id)
        .collect()
}

fn check(name: &str, packed: bool, file: &Value, plain_ids: &[String]) {
    let what = format!("{name}{}", if packed { ", packed" } else { "" });
    let original = std::fs::read(data(&format!("golden/tfrecord/{name}"))).unwrap();
    let mut wanted = expected(file, &unpacked(&original));
    // Under `skip`, the good records stay. The damaged copies of `plain.tfrecord` lose one record, or all records from
    // it on.
    if let [(index, _, reason)] = wanted.bad[..] {
        wanted.ids = match (file["records"].as_array(), reason) {
            (_, "data_crc") => {
                let others = plain_ids.iter().enumerate().filter(|(at, _)| *at as u64 != index);
                others.map(|(_, id)| id.clone()).collect()
            }
            (None, _) => plain_ids[..2].to_vec(),
            (Some(records), _) => {
                records.iter().filter_map(|r| r["id"].as_str()).map(str::to_owned).collect()
            }
        };
    }
    // A run whose reader sends no record has nothing to do, which is an error of its own.
    let nothing = wanted.ids.is_empty() && (wanted.bad.is_empty() || wanted.stage == "videos");
    let desk = Desk::new();
    let bytes = match packed {
        false => original,
        true => pack(&original),
    };
    std::fs::write(desk.path(name), bytes).unwrap();
    desk.write("graph.toml", &copy_graph(name, 1024, 128, 3862));

    let (said, result) = desk.run_json(&["graph.toml", "--run-dir", "fail"]);
    match wanted.bad.first() {
        None if nothing => {
            let said = said.expect(65);
            assert!(
                said.err.contains("to read in ") || said.err.contains("nothing to read"),
                "{what}: {}",
                said.err
            );
        }
        None => {
            said.expect(0);
            assert_eq!(copied(&desk, "fail"), wanted.ids, "{what}");
        }
        Some((index, byte, _)) => {
            let said = said.expect(65);
            let place = format!("{name}: record {index} at byte {byte}");
            assert!(said.err.contains(&place), "{what}: {}", said.err);
            assert_eq!(result["status"], "failed", "{what}");
            assert!(!desk.path("fail/copy.tfrecord").exists(), "{what}: nothing is committed");
            assert!(!desk.path("fail/rejected.jsonl").exists(), "{what}");
        }
    }

    let skip = ["--set", "stages.videos.on_error=skip", "--set", "stages.decode.on_error=skip"];
    let args = [&["graph.toml", "--run-dir", "skip"], &skip[..]].concat();
    let (said, result) = desk.run_json(&args);
    if nothing {
        let said = said.expect(65);
        assert!(
            said.err.contains("to read in ") || said.err.contains("nothing to read"),
            "{what}: {}",
            said.err
        );
        assert!(!desk.path("skip/copy.tfrecord").exists(), "{what}: nothing is committed");
    } else {
        said.expect(0);
        assert_eq!(copied(&desk, "skip"), wanted.ids, "{what}");
    }
    for stage in result["stages"].as_array().unwrap() {
        let count = |reason: &str| wanted.bad.iter().filter(|bad| bad.2 == reason).count();
        let mut counts = serde_json::Map::new();
        if stage["name"] == wanted.stage {
            counts.extend(wanted.bad.iter().map(|bad| (bad.2.to_owned(), count(bad.2).into())));
        }
        assert_eq!(stage["rejected"], Value::Object(counts), "{what}: {}", stage["name"]);
        if stage["name"] == "decode" {
            assert_eq!(stage["items_out"], wanted.ids.len(), "{what}");
        }
    }
    let lines: Vec<Value> = match std::fs::read_to_string(desk.path("skip/rejected.jsonl")) {
        Ok(text) => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        Err(_) => Vec::new(),
    };
    assert_eq!(lines.len(), wanted.bad.len(), "{what}");
    for (line, (index, byte, reason)) in lines.iter().zip(wanted.bad) {
        assert_eq!(line["stage"], wanted.stage, "{what}");
        assert!(line["file"].as_str().unwrap().ends_with(name), "{what}: {line}");
        assert_eq!(line["record"], index, "{what}");
        assert_eq!(line["byte"], byte, "{what}");
        assert_eq!(line["reason"], reason, "{what}");
        assert!(!line["detail"].as_str().unwrap().is_empty(), "{what}");
    }
}

#[test]
fn every_golden_file_fails_and_is_skipped_as_its_manifest_says() {
    let text = std::fs::read_to_string(data("golden/tfrecord/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let files = manifest["files"].as_object().unwrap();
    assert_eq!(files.len(), 28);
    let plain = &files["plain.tfrecord"]["records"];
    let plain_ids: Vec<String> =
        plain.as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
    let mut packed = 0;
    for (name, file) in files {
        check(name, false, file, &plain_ids);
        if name.ends_with(".tfrecord") {
            check(name, true, file, &plain_ids);
            packed += 1;
        }
    }
    assert_eq!(packed, 24);
}
