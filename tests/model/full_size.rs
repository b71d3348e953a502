//! Test of the YouTube-8M graphs at full size (3862 classes and 89 M parameters) on synthetic files: a step of
//! training, its evaluation, and a prediction.

use crate::support::run::{run_named, set};

#[test]
fn the_youtube8m_graphs_run_at_full_size() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("videos.tfrecord");
    let overrides = [
        format!("stages.files.path={}", file.display()),
        "stages.videos.videos=16".to_owned(),
        "stages.files.shards=1".to_owned(),
    ];
    run_named("synthesize.toml", &overrides, &dir.path().join("synthesize"));
    assert!(file.metadata().unwrap().len() > 16 * 120 * 1152);

    let files = format!("stages.videos.files={}", file.display());
    let cpu =
        format!("use.devices={}", crate::support::run::root().join("configs/device/cpu.toml").display());
    // The graphs are `train.toml`, with its four shards on the CPU, and `train-cpu.toml`.
    for graph in ["train.toml", "train-cpu.toml"] {
        let run_dir = dir.path().join(graph);
        let mut overrides =
            vec![files.clone(), format!("stages.evaluate.files={}", file.display()), cpu.clone()];
        overrides.extend(set(&[
            "stages.videos.epochs=1",
            "stages.batch.size=8",
            "stages.checkpoint.keep_last=1",
        ]));
        let results = run_named(graph, &overrides, &run_dir).results;
        assert_eq!(results["steps"], 2.0);
        assert_eq!(results["videos"], 16.0);
        assert!(results.values().all(|v| v.is_finite()), "{results:?}");
    }
    let predictions = dir.path().join("predictions");
    let overrides = [
        files,
        format!("stages.weights.path={}", dir.path().join("train-cpu.toml").display()),
        "stages.batch.size=8".to_owned(),
    ];
    run_named("predict.toml", &overrides, &predictions);
    let csv = std::fs::read_to_string(predictions.join("predictions.csv")).unwrap();
    assert_eq!(csv.lines().count(), 17);
    assert!(csv.lines().skip(1).all(|row| row.split([',', ' ']).count() == 1 + 2 * 20));
}
