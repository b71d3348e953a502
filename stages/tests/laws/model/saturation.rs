//! Law: a model that is certain, rightly or wrongly, has a finite loss and finite gradients. Here every class has
//! logits of ±1e4.

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};
use framewise_stages::model::{Dropout, LossForm, Model, NextVladConfig, Weights, backward};

use crate::device::device;
use crate::model::support::{KERNELS, made_up, model, tiny, values};

#[test]
fn saturated_logits_have_a_finite_loss_and_finite_gradients() {
    for loss in [LossForm::Logits, LossForm::Probabilities] {
        for dtype in [DType::F32, DType::F64] {
            for kernels in KERNELS {
                let model = model(NextVladConfig { loss, ..tiny() }, kernels);
                let mut weights = Weights::initial(Arc::new(model.clone()), 1, &device(), dtype).unwrap();
                let bias = model.parameters().iter().position(|spec| spec.name == "classifier.bias").unwrap();
                let certain: Vec<f64> =
                    (0..model.classes()).map(|class| if class % 2 == 0 { 1e4 } else { -1e4 }).collect();
                let certain = Tensor::new(certain, &device()).unwrap().to_dtype(dtype).unwrap();
                weights.parameters[bias] = Var::from_tensor(&certain).unwrap();
                let (batch, labels) = made_up(&model, &[4, 1, 7, 3]);
                let both: Vec<f64> = values(&labels);
                assert!(both.contains(&0.0) && both.contains(&1.0), "right and wrong certainties");
                let forward = model.forward_train(&weights, &batch, &Dropout::Off).unwrap();
                assert!(values(&forward.logits).iter().all(|logit| logit.abs() > 9e3));
                let losses = model.loss(&forward.logits, &labels).unwrap();
                let what = format!("{loss:?} {dtype:?} {kernels:?}");
                assert!(values(&losses).iter().all(|loss| loss.is_finite()), "{what} {losses:?}");
                let mean = losses.mean_all().unwrap();
                let wrong = if loss == LossForm::Logits { 1e4 } else { 10.0 };
                assert!(values(&mean)[0] > wrong, "{what}: a wrong certainty costs");
                let gradients = backward(&mean, &weights).unwrap();
                for (spec, gradient) in model.parameters().iter().zip(&gradients.tensors) {
                    assert!(values(gradient).iter().all(|g| g.is_finite()), "{what} {}", spec.name);
                }
                let learned = values(&gradients.tensors[bias]);
                if loss == LossForm::Logits {
                    assert!(learned.iter().any(|g| g.abs() >= 0.25), "{what}: it learns from them");
                }
            }
        }
    }
}
