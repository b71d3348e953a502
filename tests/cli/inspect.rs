//! Tests of `framewise inspect`: its reports agree with the manifests of the golden files.

use std::path::Path;

use serde_json::Value;

use crate::support::cli::{Desk, Said, data, graph};
use crate::support::files::flip_last_byte;
use crate::support::run::root;

fn manifest(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(data(name)).unwrap()).unwrap()
}

/// The number in the form in which the report writes it.
fn grouped(n: u64) -> String {
    let digits: Vec<_> =
        n.to_string().into_bytes().rchunks(3).map(|c| String::from_utf8(c.to_vec()).unwrap()).collect();
    digits.into_iter().rev().collect::<Vec<_>>().join(",")
}

#[test]
fn every_golden_record_file_is_told_as_its_manifest_does() {
    let desk = Desk::new();
    let manifest = manifest("golden/tfrecord/manifest.json");
    for (name, file) in manifest["files"].as_object().unwrap() {
        let said = desk.framewise(&["inspect", "--verify", &data(&format!("golden/tfrecord/{name}"))]);
        // `inspect` does not know the number of classes, so no label is too large for it.
        let good =
            file["expect"].as_str().unwrap().starts_with("ok") || name.starts_with("label_out_of_range");
        let said = said.expect(if good { 0 } else { 65 });
        let records = file["records"].as_array();
        let first = records.and_then(|records| records.first()).filter(|first| good && !first.is_null());
        if let Some(first) = first {
            let id = first["id"].as_str().unwrap();
            assert!(said.out.contains(&format!("first record  id {id:?}")), "{name}\n{}", said.out);
            if let Some(frames) = first["frames"].as_u64() {
                assert!(said.out.contains(&format!("], {frames} frame")), "{name}\n{}", said.out);
            }
            let count = format!("records       {} (", records.unwrap().len());
            assert!(said.out.contains(&count), "{name}\n{}", said.out);
        }
        if let (false, Some(record), true) =
            (good, file["error_record"].as_u64(), name != "not_a_tfrecord.tfrecord")
        {
            assert!(said.out.contains(&format!("{name}: record {record} at byte ")), "{name}\n{}", said.out);
        }
    }
}

#[test]
fn frame_statistics_are_those_of_the_manifest() {
    let desk = Desk::new();
    let manifest = manifest("golden/tfrecord/manifest.json");
    let records = manifest["files"]["plain.tfrecord"]["records"].as_array().unwrap();
    let frames: Vec<u64> = records.iter().map(|r| r["frames"].as_u64().unwrap()).collect();
    let (min, max, sum) =
        (frames.iter().min().unwrap(), frames.iter().max().unwrap(), frames.iter().sum::<u64>());
    let said = desk.framewise(&["inspect", &data("golden/tfrecord/plain.tfrecord")]).expect(0);
    let line =
        format!("frames        {min} to {max}, mean {:.1}, {sum} in all", sum as f64 / frames.len() as f64);
    assert!(said.out.contains(&line), "{line}\n{}", said.out);
    assert!(said.out.contains("rgb, audio    1,024, 128 bytes a frame"), "{}", said.out);
}

#[test]
fn one_bad_file_does_not_hide_the_others() {
    let desk = Desk::new();
    desk.write("notes.txt", "these are notes\n");
    let good = data("golden/tfrecord/plain.tfrecord");
    let said = desk.framewise(&["inspect", "nowhere", "notes.txt", &good]).expect(66);
    assert!(said.out.contains("plain.tfrecord: TFRecord of videos"), "{}", said.out);
    assert!(
        said.err.contains("nowhere") && said.err.contains("notes.txt: neither a TFRecord"),
        "{}",
        said.err
    );
}

#[test]
fn both_presets_have_the_parameters_of_the_reference() {
    let desk = Desk::new();
    let counts = manifest("golden/parameter_counts.json");
    for preset in ["paddle", "paper"] {
        let trainable = counts[preset]["trainable"].as_u64().unwrap();
        let path = root().join(format!("configs/model/nextvlad-{preset}.toml"));
        let said = desk.framewise(&["inspect", &path.display().to_string()]).expect(0);
        assert!(said.out.contains(&format!("{} trainable", grouped(trainable))), "{}", said.out);
    }
    // The logistic model has 1152 weights and a bias for each class. For each class, the mixture has three gates of
    // 1152 weights, and two experts that also have a bias.
    for (model, trainable) in
        [("logistic", 3862 * 1153), ("mixture_of_experts", 3862 * (3 * 1152 + 2 * 1153))]
    {
        let path = root().join(format!("configs/model/{model}.toml"));
        let said = desk.framewise(&["inspect", &path.display().to_string()]).expect(0);
        assert!(said.out.contains(&format!("{} trainable", grouped(trainable))), "{}", said.out);
    }
    let said = desk.framewise(&["inspect", &graph("train.toml")]).expect(0);
    assert!(said.out.contains("graph `nextvlad-train`"), "{}", said.out);
    assert!(said.out.contains("89,088,550 trainable, from `optimizer`"), "{}", said.out);
}

#[test]
fn a_model_that_cannot_be_is_78() {
    let desk = Desk::new();
    desk.write("model.toml", "groups = 7\nhidden = 64\n");
    let said = desk.framewise(&["inspect", "model.toml"]).expect(78);
    assert!(said.out.contains("groups = 7 must divide"), "{}", said.out);
    desk.write("broken.toml", "a = \n");
    let said = desk.framewise(&["inspect", "broken.toml"]).expect(78);
    assert!(said.err.contains("broken.toml:1: "), "{}", said.err);
}

#[test]
fn a_run_its_checkpoint_and_its_weights_are_told_and_verified() {
    let desk = Desk::new();
    let epochs = ["--set", "stages.videos.epochs=2", "--set", "stages.checkpoint.every_epochs=1"];
    let path = graph("quickstart.toml");
    let args = [&["run", "-q", &path, "--run-dir", "run"], &epochs[..]].concat();
    desk.framewise(&args).expect(0);

    // 270 videos in batches of 30 make nine steps an epoch.
    let said = desk.framewise(&["inspect", "--verify", "run"]).expect(0);
    for words in [
        "run: checkpoint of step 18",
        "run/checkpoints/step-00000018",
        "samples             540",
        "parameters          11,713 trainable",
        "verified            every checksum",
        "step-00000009",
        "classifier.bias                 F32  [9]",
    ] {
        assert!(said.out.contains(words), "{words}\n{}", said.out);
    }
    let weights = "run/checkpoints/step-00000018/weights.safetensors";
    let said = desk.framewise(&["inspect", weights]).expect(0);
    assert!(said.out.contains("11,713 trainable"), "{}", said.out);

    flip_last_byte(&desk.path(weights));
    desk.framewise(&["inspect", "run"]).expect(0);
    let said = desk.framewise(&["inspect", "--verify", "run"]).expect(65);
    assert!(said.err.contains("weights.safetensors"), "{}", said.err);
}

/// The golden files, with what a reader must say about each of them according to the manifest: the number of good
/// records, and the index of the bad one.
#[test]
fn a_data_set_is_verified_as_a_whole_in_order_and_by_reason() {
    let desk = Desk::new();
    // The reason for the damage of each file; `None` where nothing is wrong.
    let damaged = [
        ("bad_data_byte.tfrecord", 2, "data_crc"),
        ("bad_data_crc.tfrecord", 1, "data_crc"),
        ("bad_length_crc.tfrecord", 1, "length_crc"),
        ("frame_count_mismatch.tfrecord", 0, "frame_count_mismatch"),
        ("garbage_payload.tfrecord", 1, "bad_proto"),
        ("gzip_truncated.tfrecord.gz", 2, "truncated"),
        ("huge_length_valid_crc.tfrecord", 1, "truncated"),
        ("label_negative.tfrecord", 0, "label_out_of_range"),
        ("missing_audio.tfrecord", 1, "missing_feature"),
        ("not_a_tfrecord.tfrecord", 0, "not_tfrecord"),
        ("rgb_frame_wrong_length.tfrecord", 1, "frame_size"),
        ("truncated_in_footer.tfrecord", 1, "truncated"),
        ("truncated_in_header.tfrecord", 2, "truncated"),
        ("truncated_mid_record.tfrecord", 2, "truncated"),
        ("truncated_proto_payload.tfrecord", 0, "bad_proto"),
        ("zero_frames.tfrecord", 0, "no_frames"),
    ];
    let directory = data("golden/tfrecord");
    let verify = |threads: &str, format: &str| {
        let mut command = desk.command(&["inspect", "--verify", "--format", format, &directory]);
        Said::of(command.env("RAYON_NUM_THREADS", threads).output().unwrap()).expect(65)
    };
    let said = verify("4", "json");
    assert_eq!(said.out, verify("1", "json").out, "the number of threads changes nothing");
    assert_eq!(verify("1", "text").out, verify("4", "text").out);

    let result: Value = serde_json::from_str(&said.out).unwrap();
    let files = result["files"].as_array().unwrap();
    let name_of = |file: &Value| {
        Path::new(file["path"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned()
    };
    let names: Vec<_> = files.iter().map(name_of).collect();
    assert!(names.is_sorted(), "{names:?}");
    let manifest = manifest("golden/tfrecord/manifest.json");
    let listed = manifest["files"].as_object().unwrap();
    assert_eq!(names.len(), listed.len());
    assert_eq!(result["passed_over"].as_array().unwrap().len(), 1, "{}", result["passed_over"]);

    let mut by_reason = std::collections::BTreeMap::new();
    for file in files {
        let name = name_of(file);
        let bad = file["bad_records"].as_array().unwrap();
        match damaged.iter().find(|(damaged, ..)| *damaged == name) {
            Some((_, record, reason)) => {
                assert_eq!(file["exit_code"], 65, "{file}");
                assert_eq!(
                    (bad.len(), &bad[0]["reason"], &bad[0]["record"]),
                    (1, &(*reason).into(), &(*record).into()),
                    "{file}"
                );
                if let Some(record) = listed[&name]["error_record"].as_u64() {
                    assert_eq!(bad[0]["record"], record);
                }
                *by_reason.entry((*reason).to_owned()).or_insert(0u64) += 1;
            }
            None => assert_eq!((file["exit_code"].as_u64(), bad.len()), (Some(0), 0), "{file}"),
        }
        // All records that the manifest lists for a good file are found.
        if let (Some(records), true) = (listed[&name]["records"].as_array(), bad.is_empty()) {
            assert_eq!(file["good"], records.len(), "{file}");
        }
    }
    let totals = &result["totals"];
    assert_eq!(serde_json::to_value(&by_reason).unwrap(), totals["bad_by_reason"]);
    assert_eq!(totals["bad_files"], damaged.len());
    assert_eq!(totals["bad"], damaged.len());
    assert_eq!(result["exit_code"], 65);
    let level = |name: &str| &files[names.iter().position(|n| n == name).unwrap()]["level"];
    assert_eq!((level("video_level.tfrecord"), level("plain.tfrecord")), (&"video".into(), &"frame".into()));

    // The text for people lists each bad record with its place, the sums, and what was left out.
    let text = verify("2", "text").out;
    for (name, record, reason) in damaged {
        let line = format!("  {reason}: {directory}/{name}: record {record} at byte ");
        assert!(text.contains(&line), "{line}\n{text}");
    }
    for (reason, n) in by_reason {
        assert!(
            text.lines().any(|line| line.split_whitespace().eq([&*reason, &*n.to_string()])),
            "{reason} {n}\n{text}"
        );
    }
    assert!(text.contains("passed over") && text.contains("manifest.json"), "{text}");
}

#[test]
fn a_bad_record_anywhere_is_65_and_a_missing_file_is_told() {
    let desk = Desk::new();
    let bad = data("golden/tfrecord/bad_data_crc.tfrecord");
    let said = desk.framewise(&["inspect", "--verify", "nowhere", &bad]).expect(65);
    assert!(said.err.contains("nowhere"), "{}", said.err);
    let said = desk.framewise(&["inspect", "--verify", "nowhere"]).expect(66);
    assert!(said.err.contains("nowhere"), "{}", said.err);
    let pattern = data("japanese_vowels/*.tfrecord");
    let said = desk.framewise(&["inspect", "--verify", &pattern]).expect(0);
    assert!(said.out.contains("2 files, 640 records"), "{}", said.out);
    // Without --verify, a damaged payload goes unnoticed, also in JSON.
    let said = desk.framewise(&["inspect", "--format", "json", &bad]).expect(0);
    let result: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&result["verified"], &result["totals"]["good"]), (&false.into(), &4.into()));
}

#[test]
fn weights_that_were_cut_short_are_described_as_weights() {
    let desk = Desk::new();
    let whole = std::fs::read(data("golden/small.safetensors")).unwrap();
    // The header of this file is longer than what is left of it.
    std::fs::write(desk.path("cut.safetensors"), &whole[..1000]).unwrap();
    let said = desk.framewise(&["inspect", "cut.safetensors"]).expect(65);
    let words = "cut.safetensors is damaged: header of ";
    assert!(said.err.contains(words) && said.err.contains(" in a file of 1000"), "{}", said.err);
}
