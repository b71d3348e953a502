//! Gradients against finite differences of the loss, in float64, for every choice a configuration has.

use candle_core::{DType, Tensor, Var};
use framewise_stages::model::{
    DeviceBatch, Dropout, DropoutMode, Kernels, L2Norm, LossForm, Model, NextVlad, NextVladConfig, Weights,
    backward,
};

use crate::support::{KERNELS, made_up, model, stirred, tiny, values};

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
        // A few elements of each parameter, the first and last among them.
        let count = original.len();
        for element in (0..count).step_by(count.div_ceil(6)).chain([count - 1]) {
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
    let config = NextVladConfig {
        pad_to: 11,
        dropout: DropoutMode::UpscaleInTrain,
        l2_norm: L2Norm::SqrtMaxEpsilon,
        loss: LossForm::Probabilities,
        norm_epsilon: 1e-3,
        ..tiny()
    };
    for kernels in KERNELS {
        check(config.clone(), kernels);
    }
}
