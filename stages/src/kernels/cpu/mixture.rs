//! The logits of a mixture of experts in one pass over its activations, with hand-written gradients. CPU only.
//!
//! The numbers are those of [`crate::model::MixtureOfExperts`] under plain operations, up to rounding. Nothing is kept
//! for the gradient but the activations themselves, because it is cheaper to work the rest out again than to store it.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use crate::kernels::flat::Flat;
use crate::kernels::float::{Real, for_float, sigmoid};
use crate::kernels::tape::attach;

/// The logits [B, classes] of `gates` [B, classes · (M + 1)] and `experts` [B, classes · M], on their tape.
pub(crate) fn logits(gates: &Tensor, experts: &Tensor, mixtures: usize) -> Result<Tensor> {
    for_float!(gates.dtype(), T => logits_as::<T>(gates, experts, mixtures))
}

fn logits_as<T: Real>(gates: &Tensor, experts: &Tensor, mixtures: usize) -> Result<Tensor> {
    let (a, e) = (gates.detach().contiguous()?, experts.detach().contiguous()?);
    let (videos, width) = e.dims2()?;
    let classes = width / mixtures;
    let mut logits = vec![T::zero(); videos * classes];
    {
        let (a, e) = (Flat::<T>::of(&a)?, Flat::<T>::of(&e)?);
        let rows = logits.par_chunks_mut(classes).zip(a.par_chunks(classes * (mixtures + 1)));
        rows.zip(e.par_chunks(width)).for_each_init(Scratch::default, |scratch, ((logits, a), e)| {
            let parts = a.chunks_exact(mixtures + 1).zip(e.chunks_exact(mixtures));
            for (logit, (a, e)) in logits.iter_mut().zip(parts) {
                *logit = scratch.logit(a, e);
            }
        });
    }
    let backward = move |_: &Tensor, gradient: &Tensor| {
        let mut da = vec![T::zero(); videos * classes * (mixtures + 1)];
        let mut de = vec![T::zero(); videos * width];
        let (a, e, gradient) = (Flat::<T>::of(&a)?, Flat::<T>::of(&e)?, Flat::<T>::of(gradient)?);
        let targets = da.par_chunks_mut(classes * (mixtures + 1)).zip(de.par_chunks_mut(width));
        let sources = a.par_chunks(classes * (mixtures + 1)).zip(e.par_chunks(width));
        targets.zip(sources).zip(gradient.par_chunks(classes)).for_each_init(
            Scratch::default,
            |scratch, (((da, de), (a, e)), gradient)| {
                let targets = da.chunks_exact_mut(mixtures + 1).zip(de.chunks_exact_mut(mixtures));
                let sources = a.chunks_exact(mixtures + 1).zip(e.chunks_exact(mixtures));
                for (((da, de), (a, e)), gradient) in targets.zip(sources).zip(gradient) {
                    scratch.slopes(a, e, *gradient, da, de);
                }
            },
        );
        let da = Tensor::from_vec(da, (videos, classes * (mixtures + 1)), &Device::Cpu)?;
        let de = Tensor::from_vec(de, (videos, width), &Device::Cpu)?;
        Ok(vec![Some(da), Some(de)])
    };
    let logits = Tensor::from_vec(logits, (videos, classes), &Device::Cpu)?;
    attach("mixture_of_experts", logits, &[gates, experts], Box::new(backward))
}

/// The addends of `ln p` and `ln (1 − p)` of one class. The same constant is left out of both.
struct Scratch<T> {
    yes: Vec<T>,
    no: Vec<T>,
}

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Self { yes: Vec::new(), no: Vec::new() }
    }
}

impl<T: Real> Scratch<T> {
    fn fill(&mut self, a: &[T], e: &[T]) {
        self.yes.clear();
        self.no.clear();
        for (a, e) in a.iter().zip(e) {
            let soft = (-e.abs()).exp().ln_1p();
            self.yes.push(*a - ((-*e).max(T::zero()) + soft));
            self.no.push(*a - (e.max(T::zero()) + soft));
        }
        self.no.extend(a.last());
    }

    fn logit(&mut self, a: &[T], e: &[T]) -> T {
        self.fill(a, e);
        log_sum_exp(&self.yes) - log_sum_exp(&self.no)
    }

    /// Writes `gradient` times the derivatives of the logit with respect to each gate and expert.
    fn slopes(&mut self, a: &[T], e: &[T], gradient: T, da: &mut [T], de: &mut [T]) {
        self.fill(a, e);
        let (yes, no) = (log_sum_exp(&self.yes), log_sum_exp(&self.no));
        for (m, e) in e.iter().enumerate() {
            let (y, n) = ((self.yes[m] - yes).exp(), (self.no[m] - no).exp());
            da[m] = gradient * (y - n);
            de[m] = gradient * (y * sigmoid(-*e) + n * sigmoid(*e));
        }
        da[e.len()] = -gradient * (self.no[e.len()] - no).exp();
    }
}

fn log_sum_exp<T: Real>(values: &[T]) -> T {
    let top = values.iter().copied().fold(values[0], |top, value| top.max(value));
    let mut sum = T::zero();
    for value in values {
        sum += (*value - top).exp();
    }
    sum.ln() + top
}
