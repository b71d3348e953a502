//! Tests of the choices of the preset `paper` for which there are no golden values: the cluster norm, the gate's
//! running variance, and the running statistics of several shards. Each is compared with its formula, written out.

use candle_core::{DType, Tensor};
use framewise_stages::model::{
    BatchMoments, Dropout, GateVariance, L2Norm, Model, NextVladConfig, RunningStatistics, Weights,
};

use crate::model::support::{KERNELS, made_up, model, stirred, tiny, values};

const SHARDS: [&[usize]; 3] = [&[4, 1, 7], &[9, 2, 3], &[5, 5, 8]];

/// The moments of every shard under the configuration, and the buffers that they make.
fn fold(config: &NextVladConfig, shards: usize) -> (Weights, Vec<BatchMoments>, Vec<Tensor>) {
    let model = model(config.clone(), Default::default());
    let weights = stirred(&model, DType::F64);
    let moments: Vec<BatchMoments> = SHARDS[..shards]
        .iter()
        .map(|lengths| {
            let (batch, _) = made_up(&model, lengths);
            model.forward_train(&weights, &batch, &Dropout::Off).unwrap().moments
        })
        .collect();
    let buffers = model.fold_moments(&weights, &moments.iter().collect::<Vec<_>>()).unwrap();
    (weights, moments, buffers)
}

/// Compares every running statistic with `running ← m·running + (1 − m)·batch`, shard after shard and number by number.
fn check(config: &NextVladConfig, shards: usize, counted: usize) {
    let (weights, moments, buffers) = fold(config, shards);
    let m = config.norm_momentum;
    let norms = moments[0].layers.len();
    assert_eq!(norms, 6);
    for layer in 0..norms {
        let mut mean = values(&weights.buffers[2 * layer]);
        let mut variance = values(&weights.buffers[2 * layer + 1]);
        for shard in &moments[..counted] {
            let batch = &shard.layers[layer];
            // In the authors' code, only the gate's norm is a fused one. It has one row for each video, here three
            // rows.
            let unbiased = config.gate_variance == GateVariance::Unbiased && layer == norms - 1;
            let correction = if unbiased { 3.0 / 2.0 } else { 1.0 };
            for (running, batch) in mean.iter_mut().zip(values(&batch.mean)) {
                *running = m * *running + (1.0 - m) * batch;
            }
            for (running, batch) in variance.iter_mut().zip(values(&batch.variance)) {
                *running = m * *running + (1.0 - m) * batch * correction;
            }
        }
        for (found, expected) in [(&buffers[2 * layer], mean), (&buffers[2 * layer + 1], variance)] {
            for (found, expected) in values(found).into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-12, "norm {layer}: {found}, expected {expected}");
            }
        }
    }
}

#[test]
fn running_statistics_take_the_shards_that_the_key_names() {
    for (running_statistics, counted) in
        [(RunningStatistics::FirstShard, 1), (RunningStatistics::EveryShard, 3)]
    {
        for norm_momentum in [0.9, 0.999] {
            check(&NextVladConfig { running_statistics, norm_momentum, ..tiny() }, 3, counted);
        }
    }
}

#[test]
fn only_the_gates_running_variance_is_unbiased_where_the_key_says_so() {
    for gate_variance in [GateVariance::Biased, GateVariance::Unbiased] {
        check(&NextVladConfig { gate_variance, ..tiny() }, 1, 1);
    }
}

/// The lengths of the clusters in evaluation, before batch norm, for one form of the norm.
fn clusters(form: L2Norm, kernels: framewise_stages::model::Kernels, scale: f64) -> Vec<Vec<f64>> {
    let model = model(NextVladConfig { l2_norm: form, ..tiny() }, kernels);
    let mut weights = stirred(&model, DType::F64);
    // With small expanded features and centers, a residual is as small as the constant in the norm.
    for (spec, parameter) in model.parameters().iter().zip(&mut weights.parameters) {
        if ["expand.weight", "expand.bias", "centers"].iter().any(|part| spec.name.ends_with(part)) {
            let scaled = (parameter.as_detached_tensor() * scale).unwrap();
            *parameter = candle_core::Var::from_tensor(&scaled).unwrap();
        }
    }
    let (batch, _) = made_up(&model, &[4, 1, 7]);
    let mut lengths = Vec::new();
    let mut trace = |name: &str, value: &Tensor| {
        if let Some(side) = name.strip_suffix(".vlad_l2") {
            let clusters = if side == "rgb" { model.config.clusters } else { model.config.audio_clusters };
            // From [B, D·K] with element d·K + k, this takes the length of each cluster of each video.
            let [videos, width] = value.dims() else { panic!() };
            let flat = values(value);
            for video in 0..*videos {
                let row = &flat[video * width..(video + 1) * width];
                lengths.push(
                    (0..clusters)
                        .map(|k| row.iter().skip(k).step_by(clusters).map(|v| v * v).sum::<f64>().sqrt())
                        .collect(),
                );
            }
        }
    };
    model.trace_eval(&weights, &batch, &mut trace).unwrap();
    lengths
}

#[test]
fn the_two_cluster_norms_differ_as_their_formulas_do() {
    for kernels in KERNELS {
        for scale in [1.0, 1e-6, 1e-9] {
            let sum = clusters(L2Norm::SqrtSumPlusEpsilon, kernels, scale);
            let max = clusters(L2Norm::SqrtMaxEpsilon, kernels, scale);
            let (mut capped, mut free) = (0, 0);
            for (sum, max) in sum.into_iter().flatten().zip(max.into_iter().flatten()) {
                // |V| / sqrt(|V|² + e) = s gives |V|² = e·s²/(1 − s²); the other form is then |V| / sqrt(max(|V|², e)).
                let square = 1e-12 * sum * sum / (1.0 - sum * sum);
                if scale == 1.0 {
                    assert!((max - 1.0).abs() < 1e-12 && sum < max && sum > 1.0 - 1e-9, "{sum} {max}");
                    continue;
                }
                let expected = (square / square.max(1e-12)).sqrt();
                assert!((max - expected).abs() < 1e-4 * expected, "{kernels:?} {scale}: {max} {expected}");
                if square < 1e-12 { capped += 1 } else { free += 1 }
            }
            assert!(scale != 1e-9 || capped > 10 && free == 0, "{capped} {free}");
        }
    }
}
