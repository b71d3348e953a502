//! Laws for numbers that are not finite and have real causes: the run either stops and names the step, its videos and
//! the first tensor, or leaves such steps out. Either way, no version of the weights with such a number is ever
//! written.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use framewise_pipeline::engine::{Outcome, Status};

use crate::support::cli::{Desk, graph};
use crate::support::run::{checkpoint_bytes, load, run, run_named, set};

/// Settings of the optimizer that add ten million to every weight, or take it away, at every step from the second epoch
/// on. Without decay, Adam's update is the sign of the gradient times the rate.
const HUGE_RATE: [&str; 6] = [
    "stages.optimizer.beta1=0",
    "stages.optimizer.beta2=0",
    "stages.optimizer.epsilon=1e-30",
    "stages.optimizer.learning_rate=10",
    "stages.optimizer.milestone_epochs=[1]",
    "stages.optimizer.milestone_factors=[1e6]",
];

/// Settings for four epochs of nine steps each, without an evaluation.
const SHORT: [&str; 2] = ["stages.videos.epochs=4", "stages.evaluate.every_epochs=0"];

fn train(more: &[&str], run_dir: &Path) -> Outcome {
    run(&load("quickstart.toml", &set(&[&HUGE_RATE, &SHORT[..], more].concat())), run_dir)
}

/// The number of the step in an error or a warning.
fn step_of(text: &str) -> u64 {
    let rest = text.split("step ").nth(1).unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

fn all_finite(run_dir: &Path) -> bool {
    let checkpoint = framewise_stages::store::load(run_dir).unwrap();
    let tensors = checkpoint.weights.iter().chain(&checkpoint.moments);
    let finite =
        |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().all(|v| v.is_finite());
    tensors.into_iter().all(|(_, tensor)| finite(tensor))
}

#[test]
fn a_huge_learning_rate_stops_the_run_or_has_steps_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let (stop, skip, again) = (dir.path().join("stop"), dir.path().join("skip"), dir.path().join("again"));

    let outcome = train(&["stages.checkpoint.every_epochs=1"], &stop);
    let Status::Failed(error) = &outcome.status else { panic!("{:?}", outcome.status) };
    assert_eq!((error.stage.as_str(), error.failure.kind.exit_code()), ("optimizer", 78));
    let text = error.to_string();
    let step = step_of(&text);
    assert!((10..=36).contains(&step), "{text}");
    assert!(text.contains("has numbers that are not finite, first `"), "{text}");
    assert!(text.contains("lower learning_rate"), "{text}");
    let ids = text.split("its videos: ").nth(1).unwrap().split(';').next().unwrap();
    assert_eq!(ids.split(", ").count(), 30, "{text}");
    // What was written before that step is whole and finite.
    assert!(all_finite(&stop));

    // With "skip", the run is the same up to that step, and a second run is the same again.
    let skipped = train(&["stages.optimizer.on_nonfinite=skip"], &skip);
    assert!(matches!(skipped.status, Status::Done), "{:?}", skipped.status);
    assert_eq!(skipped.results["steps"], 36.0);
    let count = skipped.results["skipped_updates"];
    assert!(count >= 1.0 && count <= (36 - step + 1) as f64, "{count} of {step}");
    assert!(all_finite(&skip));
    assert_eq!(framewise_stages::store::load(&skip).unwrap().updates, 36 - count as u64);
    let repeated = train(&["stages.optimizer.on_nonfinite=skip", "stages.shard.capacity=7"], &again);
    assert_eq!(repeated.results["skipped_updates"], count);
    assert!(checkpoint_bytes(&again) == checkpoint_bytes(&skip), "the same on every run");
}

#[test]
fn where_all_is_finite_the_policy_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let results = ["stop", "skip"].map(|policy| {
        let run_dir = dir.path().join(policy);
        let policy = format!("stages.optimizer.on_nonfinite={policy}");
        let outcome = run_named("quickstart.toml", &set(&[&SHORT[..], &[&policy]].concat()), &run_dir);
        (checkpoint_bytes(&run_dir), outcome.results.get("skipped_updates").copied())
    });
    assert!(results[0].0 == results[1].0);
    assert_eq!([results[0].1, results[1].1], [None, Some(0.0)]);
}

/// A weights file of a short run, with one number replaced.
fn poisoned_weights(desk: &Desk, tensor: &str, value: f32) -> String {
    run_named("quickstart.toml", &set(&["stages.batch.max_batches=1"]), &desk.path("trained"));
    let checkpoint = framewise_stages::store::find(&desk.path("trained")).unwrap().path;
    let mut tensors: HashMap<String, Tensor> =
        candle_core::safetensors::load(checkpoint.join("weights.safetensors"), &Device::Cpu).unwrap();
    let old = tensors[tensor].clone();
    let mut values: Vec<f32> = old.flatten_all().unwrap().to_vec1().unwrap();
    values[5] = value;
    let new = Tensor::from_vec(values, old.shape(), &Device::Cpu).unwrap();
    tensors.insert(tensor.to_owned(), new);
    let path = desk.path("poisoned.safetensors");
    candle_core::safetensors::save(&tensors, &path).unwrap();
    path.display().to_string()
}

#[test]
fn weights_that_are_not_finite_are_refused_wherever_they_are_read() {
    let desk = Desk::new();
    let path = poisoned_weights(&desk, "audio.centers", f32::NAN);
    for (name, key) in [
        ("quickstart.toml", "stages.optimizer.init_from"),
        ("quickstart-eval.toml", "stages.weights.path"),
        ("quickstart-predict.toml", "stages.weights.path"),
    ] {
        let set = format!("{key}={path}");
        let said = desk.framewise(&["run", &graph(name), "--run-dir", "run", "--set", &set]).expect(65);
        assert!(
            said.err.contains("poisoned.safetensors: the weights are not finite: `audio.centers`"),
            "{}",
            said.err
        );
        assert!(said.err.contains("the first NaN at [0, 5]"), "{}", said.err);
        assert!(!desk.path("run").exists());
    }
}

fn eigenvalues(desk: &Desk, value: f64) -> String {
    let mut values = vec![1.0f64; 12];
    values[7] = value;
    let path = desk.path("eigenvals.npy");
    Tensor::from_vec(values, (12, 1), &Device::Cpu).unwrap().write_npy(&path).unwrap();
    format!("stages.optimizer.eigenvalues={}", path.display())
}

#[test]
fn eigenvalues_that_are_infinite_or_too_large() {
    let desk = Desk::new();
    for (value, said) in [
        (f64::INFINITY, "eigenvals.npy: eigenvalue 7 is inf"),
        (f64::NAN, "eigenvals.npy: eigenvalue 7 is NaN"),
        // The root of this eigenvalue is more than an f32 holds.
        (1e80, "eigenvals.npy: eigenvalue 7 is 1e80"),
    ] {
        let set = eigenvalues(&desk, value);
        let ran =
            desk.framewise(&["run", &graph("quickstart.toml"), "--run-dir", "run", "--set", &set]).expect(65);
        assert!(ran.err.contains(said), "{}", ran.err);
    }
    // An f32 holds the root of this one. The features reach 1e35, and it is their variance that no f32 holds. The loss
    // is still finite.
    let set = eigenvalues(&desk, 1e70);
    let args = [&graph("quickstart.toml"), "--run-dir", "run", "--set", &set];
    let (said, result) = desk.run_json(&args);
    assert_eq!(said.code, Some(78), "{}", said.err);
    let message = result["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "step 1 (epoch 1) has numbers that are not finite, first `rgb.assign_norm.batch_variance`"
        ),
        "{message}"
    );
    assert!(message.contains("of nextvlad_forward in shard 0"), "{message}");
    assert_eq!((&result["error"]["stage"], &result["error"]["exit_code"]), (&"optimizer".into(), &78.into()));
    assert!(!desk.path("run/checkpoints").exists());
}
