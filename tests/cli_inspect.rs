//! `framewise inspect`, against the manifests of the golden files.

use std::path::Path;

use serde_json::Value;

use crate::cli_support::{Desk, data, graph};
use crate::common::root;

fn manifest(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(data(name)).unwrap()).unwrap()
}

/// A number as the report writes it.
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
        // The number of classes is not known here, so that a large label is none too large.
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
    // Of a class: 1152 weights and a bias; three gates of 1152 weights and two experts with a bias besides.
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

    // 270 videos in batches of 30: nine steps an epoch.
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

fn flip_last_byte(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}
