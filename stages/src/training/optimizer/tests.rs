//! The stage between a source of updates and two sinks: what it publishes when some of the updates are not finite.

use std::sync::Mutex;

use candle_core::{Device, Tensor};
use framewise_pipeline::engine::{Outcome, RunOptions, Status};
use framewise_pipeline::testing::{GraphBuilder, items};
use framewise_pipeline::{Observer, Settings};
use toml::Value;

use super::*;
use crate::collective::Sliced;
use crate::model::{Dropout, Gradients};
use crate::model_kit::device_batch::to_device;
use crate::model_kit::kind::ModelKind;
use crate::optim::{Moments, Schedule, Updated};
use crate::payload::{Batch, EpochProgress, Features};

const SEED: u64 = 0;

fn settings(on_nonfinite: &str) -> Settings {
    let defaults = Config::keys().into_iter().filter_map(|k| Some((k.name.to_owned(), k.default?)));
    let mut settings = Settings { values: defaults.collect() };
    let mut set = |key: &str, value: Value| settings.values.insert(key.to_owned(), value);
    for (key, size) in [
        ("rgb_size", 4),
        ("audio_size", 4),
        ("classes", 3),
        ("clusters", 2),
        ("audio_clusters", 2),
        ("groups", 2),
        ("audio_groups", 2),
        ("hidden", 4),
        ("gating_reduction", 2),
        // The rate falls at every third video: every step.
        ("decay_samples", 3),
    ] {
        set(key, Value::Integer(size));
    }
    set("devices", Value::Array(vec!["cpu".into()]));
    set("on_nonfinite", on_nonfinite.into());
    settings
}

fn batch(step: u64) -> Batch {
    let bytes = |factor: u64| (0..24).map(|i| (i * factor + step * 31) as u8).collect();
    Batch {
        ids: (0..3).map(|i| format!("s{step}v{i}")).collect(),
        labels: vec![vec![0], vec![], vec![1, 2]],
        features: Features::Frames { lengths: vec![3, 1, 2], rgb: bytes(11), audio: bytes(7) },
    }
}

/// Of step 1 a gradient is NaN, of step 3 the loss is infinite and the gradients are not, of step 4 the square of a
/// gradient overflows.
fn updates(weights: &Weights) -> Vec<Update> {
    (0..6)
        .map(|step| {
            let wave = |index: usize| 0.1 * ((index as u64 * 3 + step * 11) as f64).sin();
            let tensors = weights.parameters.iter().enumerate();
            let tensors = tensors.map(|(index, parameter)| {
                let value = match (step, index) {
                    (1, 12) => f64::NAN,
                    (4, 9) => 1e30,
                    _ => wave(index),
                };
                Tensor::full(value as f32, parameter.shape(), &Device::Cpu).unwrap()
            });
            let batch = batch(step);
            let frames = to_device(&batch, &Device::Cpu).unwrap();
            let dropout = Dropout::Seeded { seed: SEED, step, shard: 0 };
            let forward = weights.model.forward_train(weights, &frames, &dropout).unwrap();
            let loss = if step == 3 { f32::INFINITY } else { 1.0 };
            Update {
                step,
                epoch: 0,
                progress: EpochProgress::default(),
                gradients: Arc::new(Sliced::whole(tensors.collect())),
                moments: vec![Arc::new(forward.moments)],
                videos: 3,
                part: None,
                batches: vec![Arc::new(batch)],
                losses: vec![Tensor::new(loss, &Device::Cpu).unwrap()],
            }
        })
        .collect()
}

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Observer for Warnings {
    fn message(&self, level: Level, _stage: &str, text: &str) {
        if level == Level::Warning {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
}

struct Ran {
    outcome: Outcome,
    versions: Vec<WeightsVersion>,
    states: Vec<TrainState>,
    warnings: Vec<String>,
}

fn run(on_nonfinite: &str) -> Ran {
    let settings = settings(on_nonfinite);
    let weights =
        Weights::initial(ModelKind::of(&settings).model(&settings).unwrap(), SEED, &Device::Cpu, DType::F32)
            .unwrap();
    let updates = updates(&weights);
    let mut graph = GraphBuilder::new();
    graph.source("updates", |mut output: Output<Update>| {
        updates.into_iter().try_for_each(|update| output.send(update))
    });
    graph.typed::<Optimizer>("optimizer", settings.parse().unwrap());
    let (versions, states) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (all_versions, all_states) = (versions.clone(), states.clone());
    graph.sink("versions", move |mut input: Input<WeightsVersion>| {
        while let Packet::Item(version) = input.recv()? {
            all_versions.lock().unwrap().push(version);
        }
        Ok(())
    });
    graph.sink("states", move |mut input: Input<TrainState>| {
        while let Packet::Item(state) = input.recv()? {
            all_states.lock().unwrap().push(state);
        }
        Ok(())
    });
    graph.edge("updates.output", "optimizer.gradients", items(1));
    graph.edge("optimizer.weights", "versions.input", items(1));
    graph.edge("optimizer.states", "states.input", items(1));
    let warnings = Arc::new(Warnings::default());
    let options = RunOptions { observer: warnings.clone(), ..RunOptions::default() };
    let outcome = graph.build(&options).unwrap().run();
    let (versions, states) = (versions.lock().unwrap().clone(), states.lock().unwrap().clone());
    let warnings = warnings.0.lock().unwrap().clone();
    Ran { outcome, versions, states, warnings }
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

fn all_bits(weights: &Weights) -> Vec<Vec<u32>> {
    weights.named_tensors().iter().map(|(_, tensor)| bits(tensor)).collect()
}

/// What an optimizer gives that never saw the bad updates: versions by step.
fn plain(settings: &Settings) -> Vec<(Weights, Moments)> {
    let config: Config = settings.parse().unwrap();
    let (adam, schedule) = (Adam::new(config.adam), Schedule::from(config.schedule));
    let model = ModelKind::of(settings).model(settings).unwrap();
    let mut weights = Weights::initial(model.clone(), SEED, &Device::Cpu, DType::F32).unwrap();
    let mut moments = Moments::zeros(&weights).unwrap();
    let mut versions = vec![(weights.clone(), moments.clone())];
    for update in updates(&weights) {
        if ![1, 3, 4].contains(&update.step) {
            // The rate goes by the videos seen, those of the steps left out among them.
            let rate = schedule.rate(3 * update.step, 0);
            let gradients = Gradients { tensors: update.gradients.tensors().unwrap() };
            let Updated { weights: mut next, moments: next_moments, .. } =
                adam.update(&weights, &moments, &gradients, rate, None).unwrap();
            next.buffers = model.fold_moments(&weights, &[&update.moments[0]]).unwrap();
            (weights, moments) = (next, next_moments);
        }
        versions.push((weights.clone(), moments.clone()));
    }
    versions
}

#[test]
fn skipped_updates_leave_weights_and_moments_as_they_were_and_the_step_counts() {
    let ran = run("skip");
    assert!(matches!(ran.outcome.status, Status::Done), "{:?}", ran.outcome.status);
    let expected = plain(&settings("skip"));
    assert_eq!((ran.versions.len(), ran.states.len()), (7, 6));
    for (index, (version, (weights, _))) in ran.versions.iter().zip(&expected).enumerate() {
        assert_eq!(version.version, index as u64);
        assert_eq!(all_bits(&version.weights), all_bits(weights), "version {index}");
    }
    for (state, (weights, moments)) in ran.states.iter().zip(&expected[1..]) {
        assert_eq!(state.samples, 3 * state.step);
        assert_eq!(all_bits(&state.weights), all_bits(weights));
        assert_eq!(state.moments.updates(), moments.updates);
        for (ours, plain) in state.moments.join().unwrap().tensors().zip(moments.tensors()) {
            assert_eq!(bits(ours), bits(plain), "step {}", state.step);
        }
    }
    assert_eq!(expected[6].1.updates, 3);
    assert_eq!(ran.outcome.results["skipped_updates"], 3.0);
    assert_eq!(ran.outcome.results["steps"], 6.0);
    let settings = settings("skip");
    let parameters = ModelKind::of(&settings).model(&settings).unwrap().parameters();
    let [first, second, third] = ran.warnings.as_slice() else { panic!("{:?}", ran.warnings) };
    for (warning, parts) in [
        (first, ["step 2 (epoch 1)", &format!("gradient of {}`", parameters[12].name), "s1v0, s1v1, s1v2"]),
        (second, ["step 4 (epoch 1)", "`mean loss` of loss in shard 0 (inf)", "s3v0, s3v1, s3v2"]),
        (
            third,
            ["step 5 (epoch 1)", &format!("second moment of {}`", parameters[9].name), "s4v0, s4v1, s4v2"],
        ),
    ] {
        assert!(parts.iter().all(|part| warning.contains(part)), "{parts:?}: {warning}");
        assert!(warning.ends_with("; its update is left out"), "{warning}");
    }
}

#[test]
fn a_run_that_stops_publishes_nothing_of_the_bad_step() {
    let ran = run("stop");
    let Status::Failed(error) = &ran.outcome.status else { panic!("{:?}", ran.outcome.status) };
    assert_eq!((error.stage.as_str(), error.failure.kind), ("optimizer", ErrorKind::Config));
    let text = error.to_string();
    assert!(text.contains("step 2 (epoch 1)") && text.contains("s1v0, s1v1, s1v2"), "{text}");
    let versions: Vec<u64> = ran.versions.iter().map(|v| v.version).collect();
    // The trip may come before a sink has taken what was sent.
    assert!([0, 1].starts_with(&versions), "{versions:?}");
    assert!(ran.states.iter().all(|s| s.step == 1), "{:?}", ran.states.len());
    assert!(!ran.outcome.results.contains_key("skipped_updates"));
    assert!(ran.warnings.is_empty(), "{:?}", ran.warnings);
}

/// The address of the first parameter of a state.
fn address(weights: &Weights) -> usize {
    let (storage, _) = weights.parameters[0].storage_and_layout();
    let candle_core::Storage::Cpu(candle_core::CpuStorage::F32(values)) = &*storage else { panic!("no f32") };
    values.as_ptr() as usize
}

/// The bits of the weights and of the moments of a state, and the address of its weights.
type Shown = (Vec<Vec<u32>>, Vec<Vec<u32>>, usize);

/// What a run shows whose sinks drop each version and each state before the next update comes: the bits of each state, and
/// the address of its weights.
fn run_dropping() -> Vec<Shown> {
    let settings = settings("skip");
    let model = ModelKind::of(&settings).model(&settings).unwrap();
    let updates = updates(&Weights::initial(model, SEED, &Device::Cpu, DType::F32).unwrap());
    let (dropped, drops) = std::sync::mpsc::channel();
    let (of_versions, of_states) = (dropped.clone(), dropped);
    let mut graph = GraphBuilder::new();
    graph.source("updates", move |mut output: Output<Update>| {
        for (index, update) in updates.into_iter().enumerate() {
            // Before the first update there is a version and no state.
            (0..if index == 0 { 1 } else { 2 }).for_each(|_| drops.recv().unwrap());
            output.send(update)?;
        }
        Ok(())
    });
    graph.typed::<Optimizer>("optimizer", settings.parse().unwrap());
    graph.sink("versions", move |mut input: Input<WeightsVersion>| {
        while let Packet::Item(version) = input.recv()? {
            drop(version);
            of_versions.send(()).ok();
        }
        Ok(())
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = seen.clone();
    graph.sink("states", move |mut input: Input<TrainState>| {
        while let Packet::Item(state) = input.recv()? {
            let moments = state.moments.tensors().map(bits).collect();
            all.lock().unwrap().push((all_bits(&state.weights), moments, address(&state.weights)));
            drop(state);
            of_states.send(()).ok();
        }
        Ok(())
    });
    graph.edge("updates.output", "optimizer.gradients", items(1));
    graph.edge("optimizer.weights", "versions.input", items(1));
    graph.edge("optimizer.states", "states.input", items(1));
    let outcome = graph.build(&RunOptions::default()).unwrap().run();
    assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
    std::mem::take(&mut *seen.lock().unwrap())
}

#[test]
fn versions_that_nobody_holds_are_written_over_and_the_numbers_are_the_same() {
    let seen = run_dropping();
    let expected = plain(&settings("skip"));
    assert_eq!(seen.len(), 6);
    for ((weights, moments, _), (plain_weights, plain_moments)) in seen.iter().zip(&expected[1..]) {
        assert!(*weights == all_bits(plain_weights));
        assert!(moments.iter().eq(plain_moments.tensors().map(bits).collect::<Vec<_>>().iter()));
    }
    // The updates that are left out are tried elsewhere, so that the version before them stays.
    let addresses: Vec<usize> = seen.iter().map(|(_, _, address)| *address).collect();
    assert_eq!(addresses, vec![addresses[0]; 6]);
}

/// Lets go of the first state and recalls it once version 2 was made: after the mark that follows the state or, without
/// a mark, right away. Returns the state that was found.
fn recalled(with_mark: bool) -> TrainState {
    let settings = settings("skip");
    let model = ModelKind::of(&settings).model(&settings).unwrap();
    let good = updates(&Weights::initial(model, SEED, &Device::Cpu, DType::F32).unwrap());
    let good: Vec<Update> = [0, 2, 5].map(|index| good[index].clone()).to_vec();
    let (seen_version, versions) = std::sync::mpsc::channel();
    let mut graph = GraphBuilder::new();
    graph.source("updates", move |mut output: Output<Update>| {
        for (index, update) in good.into_iter().enumerate() {
            output.send(update)?;
            if with_mark && index == 0 {
                output.mark(Mark::EpochEnd { epoch: 0 })?;
            }
        }
        Ok(())
    });
    graph.typed::<Optimizer>("optimizer", settings.parse().unwrap());
    graph.sink("versions", move |mut input: Input<WeightsVersion>| {
        while let Packet::Item(version) = input.recv()? {
            let number = version.version;
            drop(version);
            seen_version.send(number).ok();
        }
        Ok(())
    });
    let found = Arc::new(Mutex::new(None));
    let own = found.clone();
    graph.sink("states", move |mut input: Input<TrainState>| {
        let Packet::Item(state) = input.recv()? else { panic!("no state") };
        assert_eq!(state.step, 1);
        let held = crate::payload::Held::from(state);
        if with_mark {
            assert!(matches!(input.recv()?, Packet::Mark(_)));
        }
        // Version 2 was made, and the state that goes with it waits.
        while versions.recv().unwrap() < 2 {}
        *own.lock().unwrap() = held.recall();
        while !matches!(input.recv()?, Packet::End) {}
        Ok(())
    });
    graph.edge("updates.output", "optimizer.gradients", items(1));
    graph.edge("optimizer.weights", "versions.input", items(4));
    graph.edge("optimizer.states", "states.input", items(4));
    let outcome = graph.build(&RunOptions::default()).unwrap().run();
    assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
    let state = found.lock().unwrap().take();
    state.unwrap()
}

#[test]
fn a_state_that_was_let_go_of_is_found_at_the_end_of_its_epoch_and_otherwise_a_newer_one() {
    let settings = settings("skip");
    let config: Config = settings.parse().unwrap();
    let model = ModelKind::of(&settings).model(&settings).unwrap();
    let weights = Weights::initial(model, SEED, &Device::Cpu, DType::F32).unwrap();
    let moments = Moments::zeros(&weights).unwrap();
    let gradients = Gradients { tensors: updates(&weights)[0].gradients.tensors().unwrap() };
    let rate = Schedule::from(config.schedule).rate(0, 0);
    let first = Adam::new(config.adam).update(&weights, &moments, &gradients, rate, None).unwrap();

    let state = recalled(true);
    assert_eq!(state.step, 1);
    for (ours, plain) in state.weights.parameters.iter().zip(&first.weights.parameters) {
        assert_eq!(bits(ours), bits(plain));
    }
    assert!(state.moments.tensors().map(bits).eq(first.moments.tensors().map(bits)));
    assert!(recalled(false).step >= 2);
}
