//! Tests of gradients against finite differences of the loss, in float64, for every choice that a configuration has.

use candle_core::{DType, Tensor, Var};
use framewise_stages::model::{
    DeviceBatch, Dropout, DropoutMode, Kernels, L2Norm, LossForm, Model, NextVlad, NextVladConfig, Weights,
    backward,
};

use crate::model::support::{KERNELS, made_up, model, stirred, tiny, values};

fn loss(
    model: &NextVlad,
    weights: &Weights,
    batch: &DeviceBatch,
    labels: &Tensor,
    dropout: &Dropout,
) -> Tensor {
    let forward = model.forward_train(weights, batch, dropout).unwrap();
    model.loss(&forward.logits, labels).unwrap().mean_all().unwrap()
}

fn check(config: NextVladConfig, kernels: Kernels) {
    let model = model(config, kernels);
    let weights = stirred(&model, DType::F64);
    let (batch, labels) = made_up(&model, &[4, 1, 7, 3]);
    let dropout = Dropout::Seeded { seed: 1, step: 2, shard: 0 };
    let at = |weights: &Weights| loss(&model, weights, &batch, &labels, &dropout).to_scalar::<f64>().unwrap();
    let gradients = backward(&loss(&model, &weights, &batch, &labels, &dropout), &weights).unwrap();
    let step = 1e-5;
    let mut largest: f64 = 0.0;
    for (index, spec) in model.parameters().iter().enumerate() {
        let original = values(&weights.parameters[index]);
        let found = values(&gradients.tensors[index]);
        for element in 0..original.len() {
            let shifted = |by: f64| {
                let mut moved = original.clone();
                moved[element] += by;
                let mut weights = weights.clone();
                let shape = weights.parameters[index].shape().clone();
                weights.parameters[index] = Var::from_vec(moved, shape, batch.rgb.device()).unwrap();
                at(&weights)
            };
            let slope = (shifted(step) - shifted(-step)) / (2.0 * step);
            largest = largest.max(slope.abs());
            assert!(
                (found[element] - slope).abs() < 1e-7 * (1.0 + slope.abs()),
                "{} [{element}] {kernels:?}: {} for {slope}",
                spec.name,
                found[element]
            );
        }
    }
    assert!(largest > 0.1, "a loss that hardly moves checks nothing");
}

#[test]
fn preset_paddle() {
    for kernels in KERNELS {
        check(tiny(), kernels);
    }
}

#[test]
fn padded_statistics_and_probabilities_as_in_preset_paper() {
    let sizes = tiny();
    let config = NextVladConfig {
        rgb_size: sizes.rgb_size,
        audio_size: sizes.audio_size,
        classes: sizes.classes,
        max_frames: sizes.max_frames,
        clusters: sizes.clusters,
        audio_clusters: sizes.audio_clusters,
        groups: sizes.groups,
        audio_groups: sizes.audio_groups,
        hidden: sizes.hidden,
        expansion: sizes.expansion,
        gating_reduction: sizes.gating_reduction,
        // This is more than the longest video has, so that every video gets padded rows.
        pad_to: 11,
        ..NextVladConfig::paper()
    };
    assert_eq!(config.loss, LossForm::Probabilities);
    assert_eq!(config.dropout, DropoutMode::UpscaleInTrain);
    assert_eq!(config.l2_norm, L2Norm::SqrtMaxEpsilon);
    for kernels in KERNELS {
        check(config.clone(), kernels);
    }
}
