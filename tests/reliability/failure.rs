//! Law: a run that fails in the middle leaves nothing half-written under a final name.

use std::path::{Path, PathBuf};

use framewise_pipeline::engine::Status;

use crate::support::cli::names;
use crate::support::run::{load, root, run, run_named, set};

/// The test data with one damaged byte late in the file.
fn damaged(dir: &Path) -> PathBuf {
    let mut bytes = std::fs::read(root().join("tests/data/japanese_vowels/test.tfrecord")).unwrap();
    let late = bytes.len() * 9 / 10;
    bytes[late] ^= 0x55;
    let path = dir.join("damaged.tfrecord");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_bad_record_in_the_middle_leaves_no_predictions() {
    let dir = tempfile::tempdir().unwrap();
    let training = dir.path().join("training");
    run_named("quickstart.toml", &set(&["stages.batch.max_batches=2"]), &training);
    let mut overrides = vec![
        format!("stages.weights.path={}", training.display()),
        format!("stages.videos.files={}", damaged(dir.path()).display()),
        "stages.batch.size=10".to_owned(),
    ];

    let failed = dir.path().join("failed");
    let outcome = run(&load("quickstart-predict.toml", &overrides), &failed);
    let Status::Failed(error) = outcome.status else { panic!("{:?}", outcome.status) };
    assert_eq!(error.failure.kind.exit_code(), 65);
    let text = error.to_string();
    assert!(text.contains("damaged.tfrecord: record ") && text.contains(" at byte "), "{text}");
    assert_eq!(names(&failed), Vec::<String>::new());

    // Skipping the record instead gives the other 369 videos, and says which one is missing.
    overrides.push("stages.videos.on_error=skip".to_owned());
    overrides.push("stages.decode.on_error=skip".to_owned());
    let skipped = dir.path().join("skipped");
    let outcome = run(&load("quickstart-predict.toml", &overrides), &skipped);
    assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
    assert_eq!(
        names(&skipped),
        ["eval", "metrics.jsonl", "predictions.csv", "predictions.jsonl", "rejected.jsonl"]
    );
    let csv = std::fs::read_to_string(skipped.join("predictions.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 369);
    let rejected = std::fs::read_to_string(skipped.join("rejected.jsonl")).unwrap();
    assert_eq!(rejected.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(&rejected).unwrap();
    assert_eq!(line["reason"], "data_crc");

    // Beyond max_rejected, the run fails and again leaves nothing.
    overrides.push("stages.videos.max_rejected=0".to_owned());
    let limited = dir.path().join("limited");
    let outcome = run(&load("quickstart-predict.toml", &overrides), &limited);
    assert_eq!(outcome.status.error_kind().map(|k| k.exit_code()), Some(65));
    assert_eq!(names(&limited), ["rejected.jsonl"]);
}

#[test]
fn a_failure_in_training_leaves_only_whole_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let data = damaged(dir.path());
    // The damage lies late in the second file, so there are checkpoints by then.
    let good = root().join("tests/data/japanese_vowels/train.tfrecord");
    let files = format!(r#"stages.videos.files=["{}", "{}"]"#, good.display(), data.display());
    let overrides =
        [files, "stages.checkpoint.every_steps=4".to_owned(), "stages.shuffle.buffer=1".to_owned()];
    let run_dir = dir.path().join("run");
    let outcome = run(&load("quickstart.toml", &overrides), &run_dir);
    assert_eq!(outcome.status.error_kind().map(|k| k.exit_code()), Some(65));
    let names = names(&run_dir.join("checkpoints"));
    assert!(names.iter().all(|n| n.starts_with("step-") || n == "best"), "{names:?}");
    let checkpoint = framewise_stages::store::load(&run_dir).unwrap();
    assert!(checkpoint.step >= 4 && checkpoint.step.is_multiple_of(4), "{}", checkpoint.step);
}
