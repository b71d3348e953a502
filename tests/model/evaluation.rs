//! Laws: a checkpoint that is evaluated by itself gives the numbers of the training run's last evaluation. Predictions
//! give them too: Hit@1 recomputed from the CSV is the reported one.

use std::collections::BTreeMap;

use crate::support::run::{root, run_named, set, vowels};

fn labels() -> BTreeMap<String, Vec<u32>> {
    vowels("test").into_iter().map(|video| (video.id, video.labels)).collect()
}

#[test]
fn evaluation_and_prediction_of_a_checkpoint_repeat_the_training_run() {
    let dir = tempfile::tempdir().unwrap();
    let training = dir.path().join("training");
    let overrides = set(&["stages.videos.epochs=8", "stages.evaluate.every_epochs=2"]);
    let trained = run_named("quickstart.toml", &overrides, &training).results;
    assert!(trained["hit_at_1"] > 0.5, "{trained:?}");

    let weights = format!("stages.weights.path={}", training.display());
    let metrics = ["hit_at_1", "perr", "gap", "map", "loss", "videos"];
    let evaluated =
        run_named("quickstart-eval.toml", std::slice::from_ref(&weights), &dir.path().join("eval")).results;
    for name in metrics {
        assert_eq!(evaluated[name].to_bits(), trained[name].to_bits(), "{name}");
    }
    // The general graph gives the same, in the way that the README shows.
    let root = root();
    let general = [
        weights.clone(),
        format!("use.data={}", root.join("configs/data/japanese-vowels.toml").display()),
        format!("use.model={}", root.join("configs/model/nextvlad-small.toml").display()),
        format!("stages.videos.files={}", root.join("tests/data/japanese_vowels/test.tfrecord").display()),
    ];
    let evaluated = run_named("eval.toml", &general, &dir.path().join("general")).results;
    for name in metrics {
        assert_eq!(evaluated[name].to_bits(), trained[name].to_bits(), "{name}");
    }

    let predictions = dir.path().join("predictions");
    let predicted = run_named("quickstart-predict.toml", &[weights], &predictions).results;
    let labels = labels();
    let csv = std::fs::read_to_string(predictions.join("predictions.csv")).unwrap();
    let mut rows = csv.lines();
    assert_eq!(rows.next(), Some("VideoId,LabelConfidencePairs"));
    let (mut videos, mut hits) = (0, 0);
    for row in rows {
        let (id, pairs) = row.split_once(',').unwrap();
        let best: u32 = pairs.split(' ').next().unwrap().parse().unwrap();
        videos += 1;
        hits += usize::from(labels[id].contains(&best));
    }
    assert_eq!(videos, 370);
    assert_eq!(hits as f64 / videos as f64, predicted["hit_at_1"]);
    assert_eq!(predicted["hit_at_1"], trained["hit_at_1"]);

    let jsonl = std::fs::read_to_string(predictions.join("predictions.jsonl")).unwrap();
    let mut hits = 0;
    for line in jsonl.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let best = line["classes"][0].as_u64().unwrap() as u32;
        hits += usize::from(labels[line["id"].as_str().unwrap()].contains(&best));
        assert_eq!(line["classes"].as_array().unwrap().len(), 9);
    }
    assert_eq!(hits as f64 / videos as f64, predicted["hit_at_1"]);
}

#[test]
fn weights_of_another_model_are_refused_by_tensor_and_shapes() {
    let dir = tempfile::tempdir().unwrap();
    let overrides = set(&["stages.batch.max_batches=1"]);
    run_named("quickstart.toml", &overrides, dir.path());
    let graph = crate::support::run::load(
        "quickstart-eval.toml",
        &[
            format!("stages.weights.path={}", dir.path().display()),
            "stages.weights.hidden=32".to_owned(),
            "stages.forward.hidden=32".to_owned(),
        ],
    );
    let options = framewise_pipeline::engine::RunOptions::default();
    let error = framewise_pipeline::engine::Pipeline::build(&graph, &framewise_stages::registry(), &options)
        .unwrap_err();
    assert_eq!(error.failure.kind.exit_code(), 65);
    let text = error.to_string();
    assert!(text.contains("hidden.weight") && text.contains("64") && text.contains("32"), "{text}");
}
