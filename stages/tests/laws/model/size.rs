//! Test of one step at full size.

use std::sync::Arc;

use candle_core::{DType, Device};
use framewise_stages::model::{Dropout, Kernels, Model, NextVladConfig, Weights, backward};
use framewise_stages::optim::{Adam, AdamConfig, Moments};

use crate::model::support::{made_up, model, values};

#[test]
fn a_full_size_step_is_finite() {
    let model = model(NextVladConfig::paddle(), Kernels::Auto);
    let weights = Weights::initial(Arc::new(model.clone()), 1, &Device::Cpu, DType::F32).unwrap();
    assert_eq!(weights.parameter_count(), 89_088_550);
    let (batch, labels) = made_up(&model, &[300, 12, 150, 240, 299, 60, 201, 1]);
    let dropout = Dropout::Seeded { seed: 1, step: 0, shard: 0 };
    let forward = model.forward_train(&weights, &batch, &dropout).unwrap();
    let loss = model.loss(&forward.logits, &labels).unwrap().mean_all().unwrap();
    assert!(loss.to_scalar::<f32>().unwrap().is_finite());
    let gradients = backward(&loss, &weights).unwrap();
    for (spec, gradient) in model.parameters().iter().zip(&gradients.tensors) {
        assert!(values(gradient).iter().all(|g| g.is_finite()), "{}", spec.name);
        assert!(values(gradient).iter().any(|g| *g != 0.0), "{}", spec.name);
    }
    let moments = Moments::zeros(&weights).unwrap();
    let adam = Adam::new(AdamConfig::default());
    let next = adam.update(&weights, &moments, &gradients, 2e-4, None).unwrap().weights;
    let logits = model.forward_eval(&next, &batch).unwrap();
    assert!(values(&logits).iter().all(|logit| logit.is_finite()));
}
