//! Sigmoid cross-entropy, summed over classes, in one pass over the logits. Its gradient takes another pass.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use crate::kernels::flat::Flat;
use crate::kernels::float::{Real, for_float, sigmoid};
use crate::kernels::forms::{LossForm, PROBABILITY_EPSILON};
use crate::kernels::tape::attach;

/// The loss of one logit, and its derivative.
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

/// The loss of each video [B] of `logits` [B, classes], on their tape, against `labels` [B, classes] of the same type.
pub(crate) fn loss(logits: &Tensor, labels: Tensor, form: LossForm) -> Result<Tensor> {
    for_float!(logits.dtype(), T => loss_as::<T>(logits, labels, form))
}

fn loss_as<T: Real>(logits: &Tensor, labels: Tensor, form: LossForm) -> Result<Tensor> {
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
