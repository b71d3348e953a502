//! Ten steps from the same start, under every variant of sharding, clipping and Adam.

use std::collections::BTreeSet;

use candle_core::{DType, Tensor};
use framewise_stages::model::{
    BatchMoments, Dropout, Gradients, Kernels, Model, RunningStatistics, backward,
};
use framewise_stages::optim::{Adam, AdamConfig, Clip, EpsilonPlace, Moments, reduce};

use crate::support::{Golden, assert_near, lengths, model, pack, values};

fn run(golden: &Golden, variant: &str, dtype: DType, kernels: Kernels) {
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
    };
    let model = model(config, kernels);
    let mut weights = golden.weights(&model, "param0", "buffer0", dtype);
    let mut moments = Moments::zeros(&weights).unwrap();
    let mut recycled = None;
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
        for shard in 0..shards {
            let (first, count) = (shard * videos / shards, videos / shards);
            let of = |name: &str| part(name, step, first, count);
            let batch = pack(&of("input.rgb"), &of("input.audio"), &lengths(&of("input.lengths")));
            let forward = model.forward_train(&weights, &batch, &Dropout::Off).unwrap();
            let loss = model.loss(&forward.logits, &of("input.labels")).unwrap().mean_all().unwrap();
            let gradients = backward(&loss, &weights).unwrap();
            let loss = loss.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap();
            results.push((gradients, forward.moments, loss));
        }
        let loss = results.iter().map(|(_, _, loss)| loss).sum::<f64>() / shards as f64;
        let allowed = if dtype == DType::F64 { 1e-9 } else { 4.0 * number("f32_max_loss_diff") };
        let away = (loss - expected).abs();
        assert!(away <= allowed, "{variant} {dtype:?} {kernels:?} loss of step {step}: {away:e} away");

        let parts: Vec<(&Gradients, usize)> =
            results.iter().map(|result| (&result.0, videos / shards)).collect();
        let gradients = reduce(&parts).unwrap();
        let norm = gradients.tensors.iter().flat_map(values).map(|g| g * g).sum::<f64>().sqrt();
        // In float64 alone: the manifest says of no norm how far a float32 run lies from it.
        let away = (norm - norms[step]).abs();
        assert!(
            dtype == DType::F32 || away <= 1e-9,
            "{variant} {kernels:?} norm of step {step}: {away:e} away"
        );
        let shard_moments: Vec<&BatchMoments> = results.iter().map(|result| &result.1).collect();
        let buffers = model.fold_moments(&weights, &shard_moments).unwrap();
        let (mut next, next_moments) =
            adam.update(&weights, &moments, &gradients, number("lr"), recycled.take()).unwrap();
        next.buffers = buffers;
        recycled =
            Some((std::mem::replace(&mut weights, next), std::mem::replace(&mut moments, next_moments)));
    }
    assert_eq!(moments.updates, steps as u64);
    compare(golden, variant, dtype, kernels, &weights.named_tensors());
}

fn compare(golden: &Golden, variant: &str, dtype: DType, kernels: Kernels, found: &[(String, Tensor)]) {
    let prefixes = ["param", "buffer"].map(|kind| format!("{variant}.{kind}."));
    let golden_tensors = golden.tensors.keys().filter(|name| prefixes.iter().any(|p| name.starts_with(p)));
    // All of them and `input.rgb_scale`, which is no result.
    assert_eq!(found.len(), golden_tensors.count() + 1);
    for (name, found) in found {
        let parameter = golden.tensors.get(&format!("{variant}.param.{name}"));
        let buffer = golden.tensors.get(&format!("{variant}.buffer.{name}"));
        let Some(expected) = parameter.or(buffer) else {
            assert_eq!(name, "input.rgb_scale");
            continue;
        };
        // Round-off of a gradient that is zero, and what it moves: see the golden README.
        let noise = name.ends_with(".vlad_norm.bias") || name == "hidden_norm.running_mean";
        let distances = &golden.manifest["variants"][variant]["f32_max_param_diff"];
        let allowed = match (dtype, distances[name].as_f64()) {
            (DType::F64, _) => 1e-9,
            _ if noise => continue,
            (_, Some(distance)) => 4.0 * distance,
            // The manifest's distance of buffers is that of the noise; theirs is about 1e-6 times their size.
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
                run(&golden, &variant, dtype, kernels);
            }
        }
    }
}
