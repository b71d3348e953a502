//! Law: every run logs its numbers. Training, evaluation and prediction leave lines in `metrics.jsonl`, and TensorBoard
//! finds training and evaluation as runs of their own whose curves have the same names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use candle_core::{Device, safetensors};
use serde_json::{Value, json};
use tfrecord::protobuf::HistogramProto;
use tfrecord::protobuf::event::What;
use tfrecord::protobuf::summary::value::Value as Point;
use tfrecord::{Event, RecordIter, RecordReaderConfig};

use crate::support::cli::{Desk, graph};
use crate::support::run::{checkpoint_bytes, run_named, set};

/// The events of a folder, in the order of its files.
fn events(folder: &Path) -> Vec<Event> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let config = || RecordReaderConfig { check_integrity: true };
    files
        .iter()
        .flat_map(|file| RecordIter::<Event, _>::open(file, config()).unwrap())
        .map(Result::unwrap)
        .collect()
}

/// The points of each curve, and the texts by their names.
type Shown = (BTreeMap<String, Vec<(i64, f32)>>, BTreeMap<String, String>);

/// The histograms by their names and steps.
fn histograms(folder: &Path) -> BTreeMap<(String, i64), HistogramProto> {
    let mut found = BTreeMap::new();
    for event in events(folder) {
        let Some(What::Summary(summary)) = event.what else { continue };
        for value in summary.value {
            if let Some(Point::Histo(histogram)) = value.value {
                found.insert((value.tag, event.step), histogram);
            }
        }
    }
    found
}

fn shown(folder: &Path) -> Shown {
    let (mut curves, mut texts) = Shown::default();
    for event in events(folder) {
        let Some(What::Summary(summary)) = event.what else { continue };
        for value in summary.value {
            match value.value {
                Some(Point::SimpleValue(point)) => {
                    curves.entry(value.tag).or_default().push((event.step, point))
                }
                Some(Point::Tensor(tensor)) => {
                    drop(texts.insert(value.tag, String::from_utf8(tensor.string_val[0].clone()).unwrap()));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    (curves, texts)
}

fn lines(run_dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lines_and_curves_of_every_kind_of_run_agree() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let changes = ["stages.videos.epochs=2", "stages.evaluate.every_epochs=1", "stages.report.every_steps=3"];
    let trained = run_named("quickstart.toml", &set(&changes), &place("train")).results;
    let logged = lines(&place("train"));
    let of = |kind: &str| logged.iter().filter(|line| line["kind"] == kind).cloned().collect::<Vec<_>>();
    // 270 videos make nine steps of an epoch.
    assert_eq!((of("train").len(), of("evaluation").len()), (6, 2));

    for (kind, folder) in [("train", "train/train"), ("evaluation", "train/eval")] {
        let (curves, texts) = shown(&place(folder));
        for name in ["loss", "gap", "hit_at_1", "perr"] {
            let expected: Vec<(i64, f32)> = of(kind)
                .iter()
                .map(|line| (line["step"].as_i64().unwrap(), line[name].as_f64().unwrap() as f32))
                .collect();
            assert_eq!(curves[name], expected, "{kind} {name}");
        }
        // The settings are a block of code in Markdown.
        assert!(
            texts["graph"].contains("\n    [stages.batch]\n") && texts["graph"].contains("    size = 30\n")
        );
    }
    assert!(shown(&place("train/train")).0.contains_key("learning_rate"));

    let weights = format!("stages.weights.path={}", place("train").display());
    run_named("quickstart-eval.toml", std::slice::from_ref(&weights), &place("measured"));
    let measured = lines(&place("measured"));
    // The line stands under the step of the weights, and has the numbers of the training run's last evaluation.
    assert_eq!(measured.len(), 1);
    assert_eq!(
        (&measured[0]["kind"], &measured[0]["step"], &measured[0]["epoch"]),
        (&json!("evaluation"), &json!(18), &json!(1))
    );
    for name in ["hit_at_1", "perr", "gap", "map", "loss", "videos"] {
        assert_eq!(measured[0][name].as_f64(), Some(trained[name]), "{name}");
    }
    assert_eq!(shown(&place("measured/eval")).0["gap"], [(18, trained["gap"] as f32)]);

    let predicted = run_named("quickstart-predict.toml", &[weights], &place("predicted")).results;
    let logged = lines(&place("predicted"));
    let files: Vec<&Value> = logged.iter().filter(|line| line["kind"] == "prediction").collect();
    let expected = json!({"kind": "prediction", "step": 18, "epoch": 1, "videos": 370.0});
    assert_eq!(files, [&expected, &expected], "one line for the CSV and one for the JSON lines");
    assert_eq!((logged.len(), predicted["videos"]), (3, 370.0));
}

#[test]
fn histograms_of_weights_and_gradients_come_on_request_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let changes = set(&["stages.videos.epochs=2", "stages.evaluate.every_epochs=0"]);
    run_named("quickstart.toml", &changes, &place("plain"));
    let from = "stages.report.from={ predictions = \"loss.predictions\", states = \"optimizer.states\", gradients = \"all_reduce\" }";
    let more = set(&[from, "stages.report.histograms_every_steps=6"]);
    run_named("quickstart.toml", &[changes, more].concat(), &place("shown"));
    assert_eq!(checkpoint_bytes(&place("shown")), checkpoint_bytes(&place("plain")));
    assert!(!place("plain/train").exists(), "a run of 18 steps makes no report of 90");

    let found = histograms(&place("shown/train"));
    let steps: BTreeSet<i64> = found.keys().map(|(_, step)| *step).collect();
    assert_eq!(steps, BTreeSet::from([6, 12, 18]));
    // The weights of the last step are those of the checkpoint.
    let weights = place("shown/checkpoints/step-00000018/weights.safetensors");
    let weights = safetensors::load(weights, &Device::Cpu).unwrap();
    // Running means and the scales of the input are kept with the weights, but are not trained.
    let is_kept = |name: &str| name.contains("running_") || name.starts_with("input.");
    let trained: Vec<&String> = weights.keys().filter(|name| !is_kept(name)).collect();
    assert_eq!(found.len(), 3 * 2 * trained.len());
    for name in trained {
        let values: Vec<f32> = weights[name].flatten_all().unwrap().to_vec1().unwrap();
        let shown = &found[&(format!("weights/{name}"), 18)];
        let extreme = |pick: fn(f32, f32) -> f32| f64::from(values.iter().copied().reduce(pick).unwrap());
        assert_eq!((shown.min, shown.max), (extreme(f32::min), extreme(f32::max)), "{name}");
        assert_eq!((shown.num, shown.bucket.iter().sum::<f64>()), (values.len() as f64, values.len() as f64));
        let gradient = &found[&(format!("gradients/{name}"), 18)];
        assert_eq!(gradient.num, shown.num, "{name}");
    }
    // A gradient is no weight: those of the classifier's biases differ from it, and are not all zero.
    let bias = |kind: &str| &found[&(format!("{kind}/classifier.bias"), 18)];
    assert!(bias("gradients").sum_squares > 0.0 && bias("gradients").min != bias("weights").min);
}

#[cfg(unix)]
#[test]
fn the_shares_of_the_stages_are_curves_whose_sum_is_one() {
    let desk = Desk::new();
    let (said, result) = desk.run_json(&[&graph("quickstart.toml"), "--set", "stages.videos.epochs=20"]);
    said.expect(0);
    let (curves, _) = shown(&desk.path("runs/quickstart-1/stages"));
    let stages = result["stages"].as_array().unwrap();
    assert_eq!(curves.len(), 4 * stages.len());
    let wall = result["wall_seconds"].as_f64().unwrap();
    for stage in stages {
        let name = stage["name"].as_str().unwrap();
        let of = |share: &str| &curves[&format!("{share}/{name}")];
        let shares = ["busy", "waiting_in", "waiting_out", "ended"].map(of);
        // The points stand at whole seconds, and the last one at the end of the run.
        let (last, _) = *shares[0].last().unwrap();
        assert!((last as f64 - wall).abs() < 1.0, "{last} {wall}");
        for place in 0..shares[0].len() {
            let sum: f32 = shares.iter().map(|curve| curve[place].1).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{name}: {sum}");
        }
        // A run of one point has the shares of its table.
        if let ([point], Some(busy)) = (shares[0].as_slice(), stage["busy"].as_f64()) {
            assert!((f64::from(point.1) - busy).abs() < 0.02, "{name}: {point:?} {busy}");
        }
    }
}
