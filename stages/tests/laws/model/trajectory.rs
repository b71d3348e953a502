//! Tests of ten steps from the same start, under every variant of sharding, clipping and Adam.

use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use framewise_stages::collective::{Cut, LIMIT, Team};
use framewise_stages::model::{
    BatchMoments, Dropout, Gradients, Kernels, Model, Precision, RunningStatistics, Weights, backward,
};
use framewise_stages::optim::{
    Adam, AdamConfig, Clip, Divided, EpsilonPlace, Moments, Updated, Version, reduce, reduce_scatter,
};

use crate::device::{device, name};
use crate::model::support::{Golden, assert_near, lengths, model, pack, values};

/// The allowed distance of a loss in bf16 from that of float64, as a share of the loss: twice the rounding of one bf16.
const BF16_LOSS: f64 = 1.0 / 256.0;

/// The allowed distance of a parameter after ten steps in bf16, as a share of the way that it went. Adam moves an element
/// by a whole step however small its gradient is, so where a gradient is nearly zero, rounding decides the direction.
const BF16_WAY: f64 = 0.25;

/// What makes the next version of the weights.
enum Optimizer {
    /// One device, without slices.
    Whole { adam: Adam, weights: Weights, moments: Moments, recycled: Option<(Weights, Moments)> },
    /// Several devices.
    Divided { divided: Divided, version: Version, retired: Option<Version> },
}

impl Optimizer {
    /// An optimizer over so many devices; 0 stands for one without slices. Slices consist of small pieces, so that
    /// they end within the tensors of the small model too.
    fn new(adam: Adam, weights: Weights, devices: usize) -> Self {
        if devices == 0 {
            let moments = Moments::zeros(&weights).unwrap();
            return Self::Whole { adam, weights, moments, recycled: None };
        }
        let team = Team::local(&vec![(name(), device()); devices], LIMIT);
        let shapes = weights.parameters.iter().map(|parameter| parameter.shape().clone());
        let cut = Cut::with_pieces(shapes, devices, 8);
        if devices > 1 {
            let is_cut = |slice| cut.spans(slice).iter().any(|span| !span.is_whole);
            assert!((0..devices).any(is_cut), "no slice ends within a tensor");
        }
        let divided = Divided::new(adam, team, Arc::new(cut));
        let version = divided.start(weights).unwrap();
        Self::Divided { divided, version, retired: None }
    }

    fn weights(&self) -> &Weights {
        match self {
            Self::Whole { weights, .. } => weights,
            Self::Divided { version, .. } => version.weights(),
        }
    }

    fn updates(&self) -> u64 {
        match self {
            Self::Whole { moments, .. } => moments.updates,
            Self::Divided { version, .. } => version.moments.updates(),
        }
    }

    /// Makes the next version, and returns the mean gradients of the shards.
    fn step(&mut self, shards: &[(&Gradients, usize)], buffers: Vec<Tensor>, rate: f64) -> Vec<Tensor> {
        match self {
            Self::Whole { adam, weights, moments, recycled } => {
                let gradients = reduce(shards).unwrap();
                let Updated { weights: mut next, moments: next_moments, .. } =
                    adam.update(weights, moments, &gradients, rate, recycled.take()).unwrap();
                next.buffers = buffers;
                *recycled =
                    Some((std::mem::replace(weights, next), std::mem::replace(moments, next_moments)));
                gradients.tensors
            }
            Self::Divided { divided, version, retired } => {
                let (team, cut) = (divided.team(), divided.cut());
                let place = |shard| shard * team.members().len() / shards.len();
                let gradients = reduce_scatter(team, cut, shards, place, None).unwrap();
                let memory = retired.take().map(|old| old.into_memory().expect("nobody holds it"));
                let (next, _) = divided.update(version, &gradients, &buffers, rate, memory).unwrap();
                *retired = Some(std::mem::replace(version, next));
                gradients.tensors().unwrap()
            }
        }
    }
}

/// Runs a variant on so many devices, as [`Optimizer::new`] takes them. Returns the parameters and buffers at the end.
fn run(
    golden: &Golden,
    variant: &str,
    dtype: DType,
    (kernels, precision): (Kernels, Precision),
    devices: usize,
) -> Vec<f64> {
    let wanted = &golden.manifest["variants"][variant];
    let number = |key: &str| wanted.get(key).unwrap_or(&golden.manifest[key]).as_f64().unwrap();
    let mut config = golden.config();
    if wanted["tf_running"] == true {
        config.running_statistics = RunningStatistics::EveryShard;
    }
    let adam = Adam {
        config: AdamConfig {
            beta1: number("beta1"),
            beta2: number("beta2"),
            epsilon: number("eps"),
            epsilon_place: if wanted["eps_hat"] == true {
                EpsilonPlace::BeforeCorrection
            } else {
                EpsilonPlace::AfterCorrection
            },
            l2: number("l2"),
            l2_parameters: serde_json::from_value(golden.manifest["l2_params"].clone()).unwrap(),
            clip: match wanted["clip"].as_str() {
                None => Clip::Off,
                Some("global") => Clip::Global { norm: 1.0 },
                Some("each_after_l2") => Clip::PerVariable { norm: 1.0 },
                other => panic!("clip {other:?}"),
            },
        },
        kernels,
    };
    let mut model = model(config, kernels);
    model.precision = precision;
    let weights = golden.weights(&model, "param0", "buffer0", dtype);
    let mut optimizer = Optimizer::new(adam, weights, devices);
    let steps = number("steps") as usize;
    let (videos, shards) = (number("batch") as usize, number("shards") as usize);
    let losses: Vec<f64> = serde_json::from_value(wanted["loss"].clone()).unwrap();
    let norms: Vec<f64> = serde_json::from_value(wanted["grad_norm"].clone()).unwrap();
    let part = |name: &str, step: usize, first: usize, count: usize| {
        golden.tensor(name).get(step).unwrap().narrow(0, first, count).unwrap()
    };
    assert_eq!(losses.len(), steps);
    for (step, expected) in losses.into_iter().enumerate() {
        let mut results: Vec<(Gradients, BatchMoments, f64)> = Vec::new();
        let weights = optimizer.weights();
        for shard in 0..shards {
            let (first, count) = (shard * videos / shards, videos / shards);
            let of = |name: &str| part(name, step, first, count);
            let batch = pack(&of("input.rgb"), &of("input.audio"), &lengths(&of("input.lengths")));
            let forward = model.forward_train(weights, &batch, &Dropout::Off).unwrap();
            let labels = of("input.labels").to_device(&device()).unwrap();
            let loss = model.loss(&forward.logits, &labels).unwrap().mean_all().unwrap();
            let gradients = backward(&loss, weights).unwrap();
            let loss = loss.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap();
            results.push((gradients, forward.moments, loss));
        }
        let loss = results.iter().map(|(_, _, loss)| loss).sum::<f64>() / shards as f64;
        let allowed = match (dtype, precision) {
            (DType::F64, _) => 1e-9,
            (_, Precision::F32) => 4.0 * number("f32_max_loss_diff"),
            (_, _) => BF16_LOSS * expected,
        };
        let away = (loss - expected).abs();
        assert!(away <= allowed, "{variant} {dtype:?} {kernels:?} loss of step {step}: {away:e} away");

        let parts: Vec<(&Gradients, usize)> =
            results.iter().map(|result| (&result.0, videos / shards)).collect();
        let shard_moments: Vec<&BatchMoments> = results.iter().map(|result| &result.1).collect();
        let buffers = model.fold_moments(weights, &shard_moments).unwrap();
        let gradients = optimizer.step(&parts, buffers, number("lr"));
        let norm = gradients.iter().flat_map(values).map(|g| g * g).sum::<f64>().sqrt();
        // Norms are compared in float64 alone, because the manifest does not say how far a float32 run lies from them.
        let away = (norm - norms[step]).abs();
        assert!(
            dtype == DType::F32 || away <= 1e-9,
            "{variant} {kernels:?} norm of step {step}: {away:e} away"
        );
    }
    assert_eq!(optimizer.updates(), steps as u64);
    let weights = optimizer.weights();
    match precision {
        Precision::F32 => compare(golden, variant, dtype, kernels, &weights.named_tensors()),
        _ => compare_ways(golden, variant, weights),
    }
    weights.named_tensors().iter().flat_map(|(_, tensor)| values(tensor)).collect()
}

/// Compares the ways that the parameters went in bf16, each as a whole.
fn compare_ways(golden: &Golden, variant: &str, weights: &Weights) {
    for (spec, found) in weights.model.parameters().iter().zip(&weights.parameters) {
        let start = values(golden.tensor(&format!("param0.{}", spec.name)));
        let expected = values(golden.tensor(&format!("{variant}.param.{}", spec.name)));
        let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let away = length(&mut values(found).iter().zip(&expected).map(|(a, b)| a - b));
        let way = length(&mut start.iter().zip(&expected).map(|(a, b)| a - b));
        // The gradient of this parameter is zero but for round-off, of which Adam makes steps of full size: see
        // docs/numerics.md.
        if spec.name.ends_with(".vlad_norm.bias") {
            continue;
        }
        eprintln!("{variant} {}: {}", spec.name, away / way);
        assert!(away <= BF16_WAY * way, "{variant} {}: {away:e} away after a way of {way:e}", spec.name);
    }
}

#[test]
fn every_variant_in_bf16() {
    let golden = Golden::load("trajectory");
    for variant in golden.manifest["variants"].as_object().unwrap().keys() {
        run(&golden, variant, DType::F32, (Kernels::Auto, Precision::Bf16), 0);
    }
}

fn compare(golden: &Golden, variant: &str, dtype: DType, kernels: Kernels, found: &[(String, Tensor)]) {
    let prefixes = ["param", "buffer"].map(|kind| format!("{variant}.{kind}."));
    let golden_tensors = golden.tensors.keys().filter(|name| prefixes.iter().any(|p| name.starts_with(p)));
    // All tensors were compared, and `input.rgb_scale`, which is not a result.
    assert_eq!(found.len(), golden_tensors.count() + 1);
    for (name, found) in found {
        let parameter = golden.tensors.get(&format!("{variant}.param.{name}"));
        let buffer = golden.tensors.get(&format!("{variant}.buffer.{name}"));
        let Some(expected) = parameter.or(buffer) else {
            assert_eq!(name, "input.rgb_scale");
            continue;
        };
        // This is the round-off of a gradient that is zero, and what it moves: see docs/numerics.md.
        let noise = name.ends_with(".vlad_norm.bias") || name == "hidden_norm.running_mean";
        let distances = &golden.manifest["variants"][variant]["f32_max_param_diff"];
        let allowed = match (dtype, distances[name].as_f64()) {
            (DType::F64, _) => 1e-9,
            _ if noise => continue,
            (_, Some(distance)) => 4.0 * distance,
            // The manifest's distance for buffers is that of the noise. Their own distance is about 1e-6 times their
            // size.
            (_, None) => 4e-6 * values(expected).iter().fold(1.0, |a: f64, b| a.max(b.abs())),
        };
        assert_near(&format!("{variant} {dtype:?} {kernels:?} {name}"), found, expected, allowed);
    }
}

#[test]
fn every_variant() {
    let golden = Golden::load("trajectory");
    let variants: BTreeSet<String> =
        golden.manifest["variants"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(variants.len(), 9);
    for variant in variants {
        for dtype in [DType::F64, DType::F32] {
            for kernels in [Kernels::Auto, Kernels::Plain] {
                run(&golden, &variant, dtype, (kernels, Precision::F32), 0);
            }
        }
    }
}

#[test]
fn every_variant_on_1_2_and_4_devices_bit_for_bit_alike() {
    let golden = Golden::load("trajectory");
    for variant in golden.manifest["variants"].as_object().unwrap().keys() {
        for dtype in [DType::F64, DType::F32] {
            for kernels in [Kernels::Auto, Kernels::Plain] {
                let on = |devices| run(&golden, variant, dtype, (kernels, Precision::F32), devices);
                let one = on(1);
                for devices in [2, 4] {
                    let same = on(devices).iter().zip(&one).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{variant} {dtype:?} {kernels:?} on {devices} devices");
                }
                // Where no norm is taken, the pieces do not matter, so an update without slices is the same too.
                if golden.manifest["variants"][variant]["clip"].is_null() {
                    assert_eq!(on(0), one, "{variant} {dtype:?} {kernels:?}");
                }
            }
        }
    }
}
