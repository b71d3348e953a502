//! Sigmoid cross-entropy, summed over classes.
//!
//! Law: the loss and its gradient are finite for any finite logit.

use candle_core::{D, Result, Tensor};

use crate::kernels::backend::Backend;
use crate::kernels::cpu::cross_entropy;
use crate::kernels::forms::{LossForm, PROBABILITY_EPSILON};

/// The loss of each video [B] of `logits` [B, classes] against `labels` [B, classes].
pub(super) fn loss(logits: &Tensor, labels: &Tensor, form: LossForm, backend: Backend) -> Result<Tensor> {
    if labels.dims() != logits.dims() {
        candle_core::bail!("labels {:?} for logits {:?}", labels.dims(), logits.dims());
    }
    let labels = labels.detach().to_device(logits.device())?.to_dtype(logits.dtype())?.contiguous()?;
    match backend {
        Backend::FusedCpu => cross_entropy::loss(logits, labels, form),
        // The loss is a small part of a step, and has no kernels of a GPU.
        Backend::Plain | Backend::FusedCuda => plain(logits, &labels, form),
    }
}

fn plain(logits: &Tensor, labels: &Tensor, form: LossForm) -> Result<Tensor> {
    match form {
        LossForm::Logits => {
            let soft = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
            ((logits.relu()? - logits.mul(labels)?)? + soft)?.sum(D::Minus1)
        }
        LossForm::Probabilities => {
            // 1 − p is computed as sigmoid(−l), which keeps its small values.
            let log = |l: &Tensor| (candle_nn::ops::sigmoid(l)? + PROBABILITY_EPSILON)?.log();
            let positive = labels.mul(&log(logits)?)?;
            let negative = labels.affine(-1.0, 1.0)?.mul(&log(&logits.neg()?)?)?;
            (positive + negative)?.sum(D::Minus1)?.neg()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};

    /// The textbook formula in f64, for logits where it is exact enough.
    fn textbook(logit: f64, label: f64, form: LossForm) -> f64 {
        let p = 1.0 / (1.0 + (-logit).exp());
        let epsilon = if form == LossForm::Logits { 0.0 } else { PROBABILITY_EPSILON };
        -(label * (p + epsilon).ln() + (1.0 - label) * (1.0 - p + epsilon).ln())
    }

    #[test]
    fn both_forms_and_both_paths_equal_the_textbook() {
        let logits: Vec<f64> = (-40..=40).map(|i| f64::from(i) * 0.25 + 0.01).collect();
        let labels: Vec<f64> = (0..81).map(|i| f64::from(i % 3 == 0)).collect();
        let labels_tensor = Tensor::from_slice(&labels, (3, 27), &Device::Cpu).unwrap();
        for form in [LossForm::Logits, LossForm::Probabilities] {
            for backend in [Backend::Plain, Backend::FusedCpu] {
                let var = Var::from_slice(&logits, (3, 27), &Device::Cpu).unwrap();
                let loss = loss(&var, &labels_tensor, form, backend).unwrap();
                let found: f64 = loss.sum_all().unwrap().to_scalar().unwrap();
                let expected: f64 = logits.iter().zip(&labels).map(|(l, t)| textbook(*l, *t, form)).sum();
                assert!(
                    (found - expected).abs() < 1e-9 * expected,
                    "{form:?} {backend:?}: {found} {expected}"
                );
                let gradient = loss.sum_all().unwrap().backward().unwrap().remove(&var).unwrap();
                let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
                for ((l, t), found) in logits.iter().zip(&labels).zip(gradient) {
                    let step = 1e-5;
                    let slope = (textbook(l + step, *t, form) - textbook(l - step, *t, form)) / (2.0 * step);
                    assert!((found - slope).abs() < 1e-6, "{form:?} {backend:?} {l}: {found} {slope}");
                }
            }
        }
    }

    #[test]
    fn saturated_logits_have_a_finite_loss_and_gradient() {
        for dtype in [DType::F32, DType::F64] {
            for form in [LossForm::Logits, LossForm::Probabilities] {
                for backend in [Backend::Plain, Backend::FusedCpu] {
                    let values = [1e4, -1e4, 1e4, -1e4, 0.0, -0.0, 3e38, -3e38];
                    let var = Tensor::new(&values, &Device::Cpu).unwrap().reshape((2, 4)).unwrap();
                    let var = Var::from_tensor(&var.to_dtype(dtype).unwrap()).unwrap();
                    let labels = Tensor::new(&[[0f32, 1., 1., 0.], [0., 1., 1., 0.]], &Device::Cpu).unwrap();
                    let loss = loss(&var, &labels, form, backend).unwrap();
                    let losses: Vec<f64> = loss.to_dtype(DType::F64).unwrap().to_vec1().unwrap();
                    assert!(
                        losses.iter().all(|loss| loss.is_finite()),
                        "{dtype:?} {form:?} {backend:?} {losses:?}"
                    );
                    if form == LossForm::Logits {
                        assert_eq!(losses[0], 2e4);
                    }
                    let gradient = loss.sum_all().unwrap().backward().unwrap().remove(&var).unwrap();
                    let gradient = gradient
                        .flatten_all()
                        .unwrap()
                        .to_dtype(DType::F64)
                        .unwrap()
                        .to_vec1::<f64>()
                        .unwrap();
                    assert!(
                        gradient.iter().all(|g| g.is_finite()),
                        "{dtype:?} {form:?} {backend:?} {gradient:?}"
                    );
                    if form == LossForm::Logits {
                        assert_eq!(gradient[..4], [1.0, -1.0, 0.0, 0.0], "{dtype:?} {backend:?}");
                    }
                }
            }
        }
    }
}
