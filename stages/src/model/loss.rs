//! Sigmoid cross-entropy, summed over classes. The one law: the loss and its gradient are finite for any finite logit.

use candle_core::{D, Device, Result, Tensor};
use rayon::prelude::*;

use super::LossForm;
use super::kernels::{Flat, Real, for_float, sigmoid};
use super::node::attach;

/// Inside the logarithms of [`LossForm::Probabilities`].
const PROBABILITY_EPSILON: f64 = 1e-8;

/// Loss of each video [B] of `logits` [B, classes] against `labels` [B, classes].
pub(super) fn loss(logits: &Tensor, labels: &Tensor, form: LossForm, fused: bool) -> Result<Tensor> {
    if labels.dims() != logits.dims() {
        candle_core::bail!("labels {:?} for logits {:?}", labels.dims(), logits.dims());
    }
    let labels = labels.detach().to_device(logits.device())?.to_dtype(logits.dtype())?.contiguous()?;
    if fused {
        for_float!(logits.dtype(), T => fused_as::<T>(logits, labels, form))
    } else {
        plain(logits, &labels, form)
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

/// Loss of one logit, and its derivative.
fn element<T: Real>(logit: T, label: T, form: LossForm) -> (T, T) {
    match form {
        LossForm::Logits => {
            let soft = (-logit.abs()).exp().ln_1p();
            (logit.max(T::zero()) - logit * label + soft, sigmoid(logit) - label)
        }
        LossForm::Probabilities => {
            let epsilon = T::from_f64(PROBABILITY_EPSILON);
            let (p, q) = (sigmoid(logit), sigmoid(-logit));
            let rest = T::one() - label;
            let loss = -(label * (p + epsilon).ln() + rest * (q + epsilon).ln());
            (loss, p * q * (rest / (q + epsilon) - label / (p + epsilon)))
        }
    }
}

fn fused_as<T: Real>(logits: &Tensor, labels: Tensor, form: LossForm) -> Result<Tensor> {
    let (videos, classes) = logits.dims2()?;
    let input = logits.detach().contiguous()?;
    let losses: Vec<T> = {
        let (logits, labels) = (Flat::<T>::of(&input)?, Flat::<T>::of(&labels)?);
        let rows = logits.par_chunks(classes).zip(labels.par_chunks(classes));
        rows.map(|(logits, labels)| {
            let losses =
                logits.iter().zip(labels).map(|(logit, label)| element(*logit, *label, form).0.to_f64());
            T::from_f64(losses.sum())
        })
        .collect()
    };
    let backward = move |_: &Tensor, gradient: &Tensor| {
        let (logits, labels, gradient) =
            (Flat::<T>::of(&input)?, Flat::<T>::of(&labels)?, Flat::<T>::of(gradient)?);
        let gradient = &*gradient;
        let mut dlogits = vec![T::zero(); videos * classes];
        dlogits
            .par_chunks_mut(classes)
            .zip(logits.par_chunks(classes))
            .zip(labels.par_chunks(classes))
            .zip(gradient.par_iter())
            .for_each(|(((targets, logits), labels), gradient)| {
                for ((target, logit), label) in targets.iter_mut().zip(logits).zip(labels) {
                    *target = element(*logit, *label, form).1 * *gradient;
                }
            });
        Ok(vec![Some(Tensor::from_vec(dlogits, (videos, classes), &Device::Cpu)?)])
    };
    attach("cross_entropy", Tensor::from_vec(losses, videos, &Device::Cpu)?, &[logits], Box::new(backward))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Var};

    /// The textbook formula, in f64, for logits where it is exact enough.
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
            for fused in [false, true] {
                let var = Var::from_slice(&logits, (3, 27), &Device::Cpu).unwrap();
                let loss = loss(&var, &labels_tensor, form, fused).unwrap();
                let found: f64 = loss.sum_all().unwrap().to_scalar().unwrap();
                let expected: f64 = logits.iter().zip(&labels).map(|(l, t)| textbook(*l, *t, form)).sum();
                assert!((found - expected).abs() < 1e-9 * expected, "{form:?} {fused}: {found} {expected}");
                let gradient = loss.sum_all().unwrap().backward().unwrap().remove(&var).unwrap();
                let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
                for ((l, t), found) in logits.iter().zip(&labels).zip(gradient) {
                    let step = 1e-5;
                    let slope = (textbook(l + step, *t, form) - textbook(l - step, *t, form)) / (2.0 * step);
                    assert!((found - slope).abs() < 1e-6, "{form:?} {fused} {l}: {found} {slope}");
                }
            }
        }
    }

    #[test]
    fn saturated_logits_have_a_finite_loss_and_gradient() {
        for dtype in [DType::F32, DType::F64] {
            for form in [LossForm::Logits, LossForm::Probabilities] {
                for fused in [false, true] {
                    let values = [1e4, -1e4, 1e4, -1e4, 0.0, -0.0, 3e38, -3e38];
                    let var = Tensor::new(&values, &Device::Cpu).unwrap().reshape((2, 4)).unwrap();
                    let var = Var::from_tensor(&var.to_dtype(dtype).unwrap()).unwrap();
                    let labels = Tensor::new(&[[0f32, 1., 1., 0.], [0., 1., 1., 0.]], &Device::Cpu).unwrap();
                    let loss = loss(&var, &labels, form, fused).unwrap();
                    let losses: Vec<f64> = loss.to_dtype(DType::F64).unwrap().to_vec1().unwrap();
                    assert!(
                        losses.iter().all(|loss| loss.is_finite()),
                        "{dtype:?} {form:?} {fused} {losses:?}"
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
                        "{dtype:?} {form:?} {fused} {gradient:?}"
                    );
                    if form == LossForm::Logits {
                        assert_eq!(gradient[..4], [1.0, -1.0, 0.0, 0.0], "{dtype:?} {fused}");
                    }
                }
            }
        }
    }
}
