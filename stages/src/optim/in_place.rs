//! An update of Adam over the version that it reads.
//!
//! Law: nothing is written unless it is certain beforehand that every number of the next version is finite, so that a
//! version is never lost to an update that must be left out.

use candle_core::{Device, Result, Tensor};

use super::adam::{Adam, Slice, check_slice, views};
use super::moments::Moments;
use crate::collective::{Cut, Local};
use crate::kernels::adam::{Coefficients, Old};
use crate::kernels::backend::Backend;
use crate::kernels::cpu;
use crate::kernels::cpu::largest::largest;
use crate::model::Weights;

/// The magnitude below which a bound counts as finite. It is far enough below the largest f32 that no rounding and no sum of
/// two such numbers passes that.
const LIMIT: f64 = 1e37;

/// The factor by which bounds are made larger in each step, which is more than rounding adds.
const SLACK: f64 = 1.000_1;

/// Magnitudes that no number of a version exceeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    parameter: f64,
    first: f64,
    second: f64,
}

impl Bounds {
    /// The largest magnitudes of a version.
    fn of(parameters: &[Tensor], moments: &Moments) -> Result<Self> {
        let all = |tensors: &[Tensor]| -> Result<f64> {
            tensors.iter().try_fold(0f64, |most, tensor| Ok(most.max(largest(tensor)?)))
        };
        Ok(Self { parameter: all(parameters)?, first: all(&moments.first)?, second: all(&moments.second)? })
    }

    /// The bounds of the next version of a parameter whose gradients have these magnitudes at most. `None` if the formula of
    /// [`Coefficients`] may give a number that is not finite on the way to them.
    fn next(self, coefficients: &Coefficients, gradient: f64) -> Option<Self> {
        let Coefficients { beta1, beta2, rate, second_factor, epsilon, gradient_factor, parameter_factor } =
            *coefficients;
        let gradient = (gradient_factor * gradient + parameter_factor * self.parameter) * SLACK;
        let first = (beta1 * self.first + (1.0 - beta1) * gradient) * SLACK;
        let second = (beta2 * self.second + (1.0 - beta2) * gradient * gradient) * SLACK;
        // The root is at least 0.
        let change = rate * first / epsilon;
        let next = Self { parameter: (self.parameter + change) * SLACK, first, second };
        let inner = [gradient_factor, parameter_factor, rate, second_factor, gradient, rate * first, change];
        let all = inner.into_iter().chain([next.parameter, next.first, next.second]);
        // In f32, a smaller ε is not a normal number.
        (epsilon > 1.0 / LIMIT && all.fold(true, |finite, value| finite & (value < LIMIT))).then_some(next)
    }

    /// The bounds of the next version of all parameters.
    fn next_of_all(self, steps: &[(Coefficients, f64)]) -> Option<Self> {
        let mut all = self;
        for (coefficients, gradient) in steps {
            let next = self.next(coefficients, *gradient)?;
            all.parameter = all.parameter.max(next.parameter);
            all.first = all.first.max(next.first);
            all.second = all.second.max(next.second);
        }
        Some(all)
    }
}

impl Adam {
    /// Writes the next version of weights and moments over them, and returns the next moments, which are the very tensors of
    /// `moments` with one update more. The weights keep their buffers. `None` if nothing was written, because it is not
    /// certain that all numbers of the next version are finite, or because the kernels of the CPU do not compute.
    /// [`Adam::update`] makes the same numbers.
    ///
    /// `bounds` are those of the version, if they are known, and become those of the next one.
    ///
    /// # Errors
    /// The errors of [`Adam::update`]. In case of an error nothing was written, unless a kernel failed.
    pub fn update_in_place(
        &self,
        weights: &Weights,
        moments: &Moments,
        gradients: &[Tensor],
        learning_rate: f64,
        bounds: &mut Option<Bounds>,
    ) -> Result<Option<Moments>> {
        let device = weights.device().unwrap_or(&Device::Cpu);
        if self.kernels.on(device) != Backend::FusedCpu {
            return Ok(None);
        }
        let cut = Cut::new(weights.parameters.iter().map(|parameter| parameter.shape().clone()), 1);
        let spans = cut.spans(0);
        let (specs, parameters) = (weights.model.parameters(), views(spans, &weights.parameters)?);
        let gradients = gradients.iter().map(Tensor::contiguous).collect::<Result<Vec<_>>>()?;
        let slice = Slice { cut: &cut, weights, moments, gradients: &gradients, next: &weights.parameters };
        check_slice(&slice, spans, &specs, &parameters)?;
        let sums = self.sums(&Local::alone(device), &slice, spans, &specs, &parameters)?;
        let updates = moments.updates + 1;
        let coefficients = self.coefficients(&cut, &specs, &sums, learning_rate, updates)?;
        let mut steps = Vec::with_capacity(coefficients.len());
        for (coefficients, gradient) in coefficients.into_iter().zip(&gradients) {
            steps.push((coefficients, largest(gradient)?));
        }
        // Bounds that follow from other bounds become too large in time. Then they are measured anew.
        let mut next = bounds.take().and_then(|bounds| bounds.next_of_all(&steps));
        if next.is_none() {
            next = Bounds::of(&parameters, moments)?.next_of_all(&steps);
        }
        if next.is_none() {
            return Ok(None);
        }
        let olds = parameters.iter().zip(&moments.first).zip(&moments.second).zip(&gradients);
        for ((((parameter, first), second), gradient), (coefficients, _)) in olds.zip(&steps) {
            cpu::adam::update_in_place(coefficients, &Old { parameter, first, second, gradient })?;
        }
        *bounds = next;
        Ok(Some(Moments { first: moments.first.clone(), second: moments.second.clone(), updates }))
    }
}

#[cfg(test)]
mod tests;
