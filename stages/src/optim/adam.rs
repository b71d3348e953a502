//! Adam (Kingma and Ba 2015), with L2 on named parameters and clipping. The one law: version n+1 is written into memory
//! of its own, so that whoever holds version n keeps it.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::finite::all_finite;
use super::norms::sum_of_squares;
use super::slices::{FloatStorage, with_values};
use crate::model::{Flat, Gradients, Weights, for_float};

/// Where ε stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpsilonPlace {
    /// `lr · m̂ / (sqrt(v̂) + ε)` with m̂ = m/(1−β1^t), v̂ = v/(1−β2^t), as in the paper.
    AfterCorrection,
    /// `lr · sqrt(1−β2^t)/(1−β1^t) · m / (sqrt(v) + ε)`, as in TensorFlow 1.
    BeforeCorrection,
}

/// How gradients are clipped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Clip {
    /// Not at all.
    Off,
    /// All gradients by one factor, `norm / max(‖all‖, norm)`; before L2 is added.
    Global {
        /// Largest norm of all gradients together.
        norm: f64,
    },
    /// Every gradient by a factor of its own, `norm / max(‖it‖, norm)`; after L2 is added.
    PerVariable {
        /// Largest norm of one gradient.
        norm: f64,
    },
}

/// Settings of [`Adam`]; the default is that of preset `paddle`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamConfig {
    /// Decay of the first moment. Default 0.9.
    pub beta1: f64,
    /// Decay of the second moment. Default 0.999.
    pub beta2: f64,
    /// Default 1e-8.
    pub epsilon: f64,
    /// Default `after_correction`.
    pub epsilon_place: EpsilonPlace,
    /// `l2 · parameter` is added to the gradient of the parameters below. Default 1e-5.
    pub l2: f64,
    /// Default: the classifier's weight and bias.
    pub l2_parameters: Vec<String>,
    /// Default `off`.
    pub clip: Clip,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            epsilon_place: EpsilonPlace::AfterCorrection,
            l2: 1e-5,
            l2_parameters: vec!["classifier.weight".into(), "classifier.bias".into()],
            clip: Clip::Off,
        }
    }
}

impl AdamConfig {
    /// Preset `paper`: ε outside the correction, every gradient clipped to norm 1.
    pub fn paper() -> Self {
        Self {
            epsilon_place: EpsilonPlace::BeforeCorrection,
            clip: Clip::PerVariable { norm: 1.0 },
            ..Self::default()
        }
    }

    /// Every impossible value, one sentence each.
    pub fn check(&self) -> Vec<String> {
        let mut errors = Vec::new();
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                errors.push(format!("{name} = {beta} must be at least 0 and below 1"));
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            errors.push(format!("epsilon = {} must be positive and finite", self.epsilon));
        }
        if !(self.l2 >= 0.0 && self.l2.is_finite()) {
            errors.push(format!("l2 = {} must be finite and not negative", self.l2));
        }
        if let Clip::Global { norm } | Clip::PerVariable { norm } = self.clip
            && !(norm > 0.0 && norm.is_finite())
        {
            errors.push(format!("the norm to clip to, {norm}, must be positive and finite"));
        }
        errors
    }
}

/// Adam's state, one tensor of each kind per parameter, in parameter order.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Decayed mean of the gradients, m.
    pub first: Vec<Tensor>,
    /// Decayed mean of their squares, v.
    pub second: Vec<Tensor>,
    /// Updates made, t.
    pub updates: u64,
}

impl Moments {
    /// The state before the first update.
    pub fn zeros(weights: &Weights) -> Result<Self> {
        let zeros =
            || weights.parameters.iter().map(|parameter| parameter.zeros_like()).collect::<Result<_>>();
        Ok(Self { first: zeros()?, second: zeros()?, updates: 0 })
    }
}

/// What an update makes.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The next version of the weights.
    pub weights: Weights,
    /// The next version of the moments.
    pub moments: Moments,
    /// Whether every number of the new parameters and second moments is finite. A gradient that is not, or whose square
    /// is not, shows in them.
    pub finite: bool,
}

/// The optimiser: settings alone, its state is [`Moments`].
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// Its settings; sound, see [`AdamConfig::check`].
    pub config: AdamConfig,
}

/// The numbers of one update of one parameter, each worked out in f64.
#[derive(Clone, Copy)]
struct Step {
    beta1: f64,
    beta2: f64,
    /// `lr/(1−β1^t)`, and for [`EpsilonPlace::BeforeCorrection`] times `sqrt(1−β2^t)`.
    rate: f64,
    /// Factor of v under the root.
    second_factor: f64,
    epsilon: f64,
    l2: f64,
    /// Clip factor, before L2 is added or after.
    scale: f64,
    scale_after_l2: bool,
}

impl Adam {
    /// The next version of weights and moments. Buffers are those of `weights`; the caller replaces them.
    ///
    /// Every norm and bias correction is worked out in f64. On the CPU the update is one pass over memory and writes
    /// into `recycled`, a version that nobody else holds (two versions ago, say), so that nothing of the size of the
    /// parameters is allocated; without one, or elsewhere, new tensors are made.
    pub fn update(
        &self,
        weights: &Weights,
        moments: &Moments,
        gradients: &Gradients,
        learning_rate: f64,
        recycled: Option<(Weights, Moments)>,
    ) -> Result<(Weights, Moments)> {
        let Updated { weights, moments, .. } =
            self.update_watched(weights, moments, gradients, learning_rate, recycled)?;
        Ok((weights, moments))
    }

    /// As [`Adam::update`], with the answer whether all that was computed is finite.
    pub fn update_watched(
        &self,
        weights: &Weights,
        moments: &Moments,
        gradients: &Gradients,
        learning_rate: f64,
        recycled: Option<(Weights, Moments)>,
    ) -> Result<Updated> {
        let fused = weights.device().is_none_or(|device| device.is_cpu());
        self.update_by(fused, weights, moments, gradients, learning_rate, recycled)
    }

    fn update_by(
        &self,
        fused: bool,
        weights: &Weights,
        moments: &Moments,
        gradients: &Gradients,
        learning_rate: f64,
        recycled: Option<(Weights, Moments)>,
    ) -> Result<Updated> {
        let count = weights.parameters.len();
        if [gradients.tensors.len(), moments.first.len(), moments.second.len()] != [count; 3] {
            candle_core::bail!(
                "{count} parameters with {} gradients and {} + {} moments",
                gradients.tensors.len(),
                moments.first.len(),
                moments.second.len()
            );
        }
        let steps = self.steps(weights, gradients, learning_rate, moments.updates + 1)?;
        let mut next = match recycled.filter(|_| fused) {
            Some(recycled) => {
                check_recycled(&recycled, weights, moments)?;
                (recycled.0.parameters, recycled.1.first, recycled.1.second)
            }
            None => (Vec::new(), Vec::new(), Vec::new()),
        };
        let mut all_are_finite = true;
        for (index, step) in steps.into_iter().enumerate() {
            let parameter = weights.parameters[index].as_detached_tensor();
            let old = Old {
                parameter: &parameter,
                first: &moments.first[index],
                second: &moments.second[index],
                gradient: &gradients.tensors[index],
            };
            if !fused {
                let (parameter, first, second) = step.plain(&old)?;
                next.0.push(parameter);
                next.1.push(first);
                next.2.push(second);
                continue;
            }
            if next.0.len() <= index {
                next.0.push(Var::zeros(parameter.shape(), parameter.dtype(), parameter.device())?);
                next.1.push(parameter.zeros_like()?);
                next.2.push(parameter.zeros_like()?);
            }
            for_float!(parameter.dtype(), T => {
                all_are_finite &= step.fused::<T>(&old, &next.0[index], &next.1[index], &next.2[index])?;
            });
        }
        let (parameters, first, second) = next;
        if !fused {
            all_are_finite = all_finite(parameters.iter().map(|p| p.as_tensor()).chain(&second))?;
        }
        let weights = Weights { model: weights.model.clone(), parameters, buffers: weights.buffers.clone() };
        let moments = Moments { first, second, updates: moments.updates + 1 };
        Ok(Updated { weights, moments, finite: all_are_finite })
    }

    /// One [`Step`] per parameter, for update number `t`, counted from 1.
    fn steps(
        &self,
        weights: &Weights,
        gradients: &Gradients,
        learning_rate: f64,
        t: u64,
    ) -> Result<Vec<Step>> {
        let config = &self.config;
        let names = weights.model.parameters();
        if let Some(unknown) =
            config.l2_parameters.iter().find(|l2| !names.iter().any(|spec| spec.name == **l2))
        {
            candle_core::bail!("l2_parameters names `{unknown}`, which the model does not have");
        }
        let t = t as f64;
        let (correction1, correction2) = (1.0 - config.beta1.powf(t), 1.0 - config.beta2.powf(t));
        let (rate, second_factor) = match config.epsilon_place {
            EpsilonPlace::AfterCorrection => (learning_rate / correction1, 1.0 / correction2),
            EpsilonPlace::BeforeCorrection => (learning_rate * correction2.sqrt() / correction1, 1.0),
        };
        let mut steps = Vec::with_capacity(names.len());
        let mut global = 0.0;
        for ((spec, parameter), gradient) in names.iter().zip(&weights.parameters).zip(&gradients.tensors) {
            if gradient.shape() != parameter.shape() {
                candle_core::bail!(
                    "gradient {:?} for `{}` {:?}",
                    gradient.dims(),
                    spec.name,
                    parameter.dims()
                );
            }
            let l2 = if config.l2_parameters.contains(&spec.name) { config.l2 } else { 0.0 };
            let (mut scale, mut scale_after_l2) = (1.0, false);
            match config.clip {
                Clip::Off => {}
                Clip::Global { .. } => global += sum_of_squares(gradient, parameter, 0.0)?,
                Clip::PerVariable { norm } => {
                    scale = norm / sum_of_squares(gradient, parameter, l2)?.sqrt().max(norm);
                    scale_after_l2 = true;
                }
            }
            steps.push(Step {
                beta1: config.beta1,
                beta2: config.beta2,
                rate,
                second_factor,
                epsilon: config.epsilon,
                l2,
                scale,
                scale_after_l2,
            });
        }
        if let Clip::Global { norm } = config.clip {
            let scale = norm / global.sqrt().max(norm);
            steps.iter_mut().for_each(|step| step.scale = scale);
        }
        Ok(steps)
    }
}

/// Refuses memory of another shape, and the very tensors that the update reads.
fn check_recycled(recycled: &(Weights, Moments), weights: &Weights, moments: &Moments) -> Result<()> {
    let kinds: [(Vec<&Tensor>, Vec<&Tensor>); 3] = [
        (
            recycled.0.parameters.iter().map(|p| &**p).collect(),
            weights.parameters.iter().map(|p| &**p).collect(),
        ),
        (recycled.1.first.iter().collect(), moments.first.iter().collect()),
        (recycled.1.second.iter().collect(), moments.second.iter().collect()),
    ];
    for (old, current) in kinds {
        let fits = |(old, current): (&&Tensor, &&Tensor)| {
            old.shape() == current.shape() && old.dtype() == current.dtype() && old.device().is_cpu()
        };
        if old.len() != current.len() || !old.iter().zip(&current).all(fits) {
            candle_core::bail!("the recycled version has other shapes than the current one");
        }
        if old.iter().zip(&current).any(|(old, current)| old.id() == current.id()) {
            candle_core::bail!("the recycled version is the current one");
        }
    }
    Ok(())
}

/// What an update reads.
struct Old<'a> {
    parameter: &'a Tensor,
    first: &'a Tensor,
    second: &'a Tensor,
    gradient: &'a Tensor,
}

impl Step {
    /// One pass over the four inputs and three outputs. Whether the new parameter and second moment are finite.
    fn fused<T: FloatStorage>(
        &self,
        old: &Old,
        parameter: &Tensor,
        first: &Tensor,
        second: &Tensor,
    ) -> Result<bool> {
        const PART: usize = 1 << 14;
        let gradient = old.gradient.contiguous()?;
        let (w, m) = (Flat::<T>::of(old.parameter)?, Flat::<T>::of(old.first)?);
        let (v, g) = (Flat::<T>::of(old.second)?, Flat::<T>::of(&gradient)?);
        let (w, m, v, g) = (&*w, &*m, &*v, &*g);
        let of = T::from_f64;
        let (beta1, rest1) = (of(self.beta1), of(1.0 - self.beta1));
        let (beta2, rest2) = (of(self.beta2), of(1.0 - self.beta2));
        let (rate, second_factor, epsilon) = (of(self.rate), of(self.second_factor), of(self.epsilon));
        // scale·g + l2·w, or scale·(g + l2·w).
        let (scale, l2) =
            (of(self.scale), of(if self.scale_after_l2 { self.scale * self.l2 } else { self.l2 }));
        let all_are_finite = AtomicBool::new(true);
        with_values::<T, _>(parameter, |new_w| {
            with_values::<T, _>(first, |new_m| {
                with_values::<T, _>(second, |new_v| {
                    let new = new_w
                        .par_chunks_mut(PART)
                        .zip(new_m.par_chunks_mut(PART))
                        .zip(new_v.par_chunks_mut(PART));
                    new.enumerate().for_each(|(part, ((new_w, new_m), new_v))| {
                        let span = part * PART..part * PART + new_w.len();
                        let (w, m, v, g) = (&w[span.clone()], &m[span.clone()], &v[span.clone()], &g[span]);
                        let mut part_is_finite = true;
                        for i in 0..new_w.len() {
                            let g = scale * g[i] + l2 * w[i];
                            let m = beta1 * m[i] + rest1 * g;
                            let v = beta2 * v[i] + rest2 * g * g;
                            new_m[i] = m;
                            new_v[i] = v;
                            let w = w[i] - rate * m / ((v * second_factor).sqrt() + epsilon);
                            new_w[i] = w;
                            // 0 times a number is 0, and times anything else NaN: one comparison for both.
                            part_is_finite &= w * T::zero() + v * T::zero() == T::zero();
                        }
                        if !part_is_finite {
                            all_are_finite.store(false, Ordering::Relaxed);
                        }
                    });
                    Ok(())
                })
            })
        })?;
        Ok(all_are_finite.into_inner())
    }

    /// The same in plain tensor operations, for any device.
    fn plain(&self, old: &Old) -> Result<(Var, Tensor, Tensor)> {
        let mut gradient = old.gradient.affine(self.scale, 0.0)?;
        if self.l2 != 0.0 {
            let l2 = if self.scale_after_l2 { self.scale * self.l2 } else { self.l2 };
            gradient = (gradient + old.parameter.affine(l2, 0.0)?)?;
        }
        let first = (old.first.affine(self.beta1, 0.0)? + gradient.affine(1.0 - self.beta1, 0.0)?)?;
        let second =
            (old.second.affine(self.beta2, 0.0)? + gradient.sqr()?.affine(1.0 - self.beta2, 0.0)?)?;
        let root = (second.affine(self.second_factor, 0.0)?.sqrt()? + self.epsilon)?;
        let parameter = (old.parameter - first.div(&root)?.affine(self.rate, 0.0)?)?;
        Ok((Var::from_tensor(&parameter)?, first, second))
    }
}

#[cfg(test)]
#[path = "adam_tests.rs"]
mod tests;
