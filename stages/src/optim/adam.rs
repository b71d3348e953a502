//! Adam (Kingma and Ba 2015), with L2 on named parameters and clipping.
//!
//! Laws: version n+1 is written into memory of its own here, so that whoever holds version n keeps it. Every number of it
//! is the same however many members compute it, each for a slice. `in_place` has the update of a version that nobody holds.

use candle_core::{Device, Result, Tensor, Var};

use super::config::{AdamConfig, Clip, EpsilonPlace};
use super::moments::Moments;
use super::norms::{Summed, sums_of_squares};
use super::steps::{NewMoments, fused, fused_on_gpu, plain};
use crate::collective::{CollectiveError, Communicator, Cut, Local, Span};
use crate::kernels::adam::{Coefficients, Old};
use crate::kernels::backend::{Backend, Kernels};
use crate::model::{Gradients, ParameterSpec, Weights};

/// The result of an update.
#[derive(Clone, Debug)]
pub struct Updated {
    /// The next version of the weights.
    pub weights: Weights,
    /// The next version of the moments.
    pub moments: Moments,
    /// Whether every number of the new parameters and second moments is finite. A gradient that is not finite, or whose
    /// square is not, shows in them.
    pub finite: bool,
}

/// The optimizer. It has settings alone; its state is [`Moments`].
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// The settings; sound, see [`AdamConfig::check`].
    pub config: AdamConfig,
    /// The implementation that computes: [`Kernels::Plain`], or for any other value a fused kernel on the CPU and on NVIDIA
    /// GPUs. All give the same numbers up to rounding.
    pub kernels: Kernels,
}

/// What one member updates: its slice of a version.
pub(super) struct Slice<'a> {
    /// The cut.
    pub(super) cut: &'a Cut,
    /// The version, whole, on the member's device.
    pub(super) weights: &'a Weights,
    /// The moments of the slice.
    pub(super) moments: &'a Moments,
    /// The gradients of the slice, with one tensor for each span.
    pub(super) gradients: &'a [Tensor],
    /// The memory of the next version, whole, on the member's device. Nobody reads it until the update is done.
    pub(super) next: &'a [Var],
}

impl Adam {
    /// Makes an optimizer with these settings and the fastest kernels.
    pub fn new(config: AdamConfig) -> Self {
        Self { config, kernels: Kernels::Auto }
    }

    /// Makes the next version of weights and moments on one device. Its buffers are those of `weights`, and the caller
    /// replaces them.
    ///
    /// Every norm and bias correction is computed in f64. On the CPU, the update is one pass over memory. It writes
    /// into `recycled`, a version that nobody else holds, such as the one of two versions ago. Then nothing of the size
    /// of the parameters is allocated. Without `recycled`, new tensors are made. On other devices, new tensors are made
    /// for the moments in either case.
    ///
    /// # Errors
    /// The gradients, moments or recycled tensors do not fit the weights, or the settings name a parameter that the
    /// model does not have.
    pub fn update(
        &self,
        weights: &Weights,
        moments: &Moments,
        gradients: &Gradients,
        learning_rate: f64,
        recycled: Option<(Weights, Moments)>,
    ) -> Result<Updated> {
        let (next, memory) = match recycled {
            Some((old, memory)) => {
                check_memory(&old, weights)?;
                check_moments(&memory, moments)?;
                (old.parameters, Some(memory))
            }
            None => (allocate(weights)?, None),
        };
        let cut = Cut::new(weights.parameters.iter().map(|parameter| parameter.shape().clone()), 1);
        let slice = Slice { cut: &cut, weights, moments, gradients: &gradients.tensors, next: &next };
        let alone = Local::alone(weights.device().unwrap_or(&Device::Cpu));
        let (moments, finite) = self.update_slice(&alone, &slice, memory, learning_rate)?;
        let weights =
            Weights { model: weights.model.clone(), parameters: next, buffers: weights.buffers.clone() };
        Ok(Updated { weights, moments, finite })
    }

    /// A member's part of an update. It writes its slice of the parameters into the next version, which is complete when
    /// this returns, with the slices of all members. Returns the next moments of the slice, and whether all numbers of
    /// all slices are finite. `memory` is that of moments which nobody else holds.
    pub(super) fn update_slice(
        &self,
        communicator: &dyn Communicator,
        slice: &Slice<'_>,
        memory: Option<Moments>,
        learning_rate: f64,
    ) -> std::result::Result<(Moments, bool), CollectiveError> {
        let Slice { cut, weights, moments, gradients, next } = slice;
        let spans = cut.spans(communicator.rank());
        let (specs, parameters) = (weights.model.parameters(), views(spans, &weights.parameters)?);
        check_slice(slice, spans, &specs, &parameters)?;
        let sums = self.sums(communicator, slice, spans, &specs, &parameters)?;
        let updates = moments.updates + 1;
        let coefficients = self.coefficients(cut, &specs, &sums, learning_rate, updates)?;
        let olds = parameters.iter().zip(&moments.first).zip(&moments.second).zip(*gradients);
        let olds =
            olds.map(|(((parameter, first), second), gradient)| Old { parameter, first, second, gradient });
        let steps = spans.iter().map(|span| &coefficients[span.tensor]).zip(olds);
        let targets = views(spans, next)?;
        let backend = weights.device().map_or(Backend::FusedCpu, |device| self.kernels.on(device));
        let memory = || match memory {
            Some(Moments { first, second, .. }) => Ok(NewMoments { first, second }),
            None => {
                let zeros = || parameters.iter().map(Tensor::zeros_like).collect::<Result<_>>();
                Ok::<_, candle_core::Error>(NewMoments { first: zeros()?, second: zeros()? })
            }
        };
        let (NewMoments { first, second }, finite) = match backend {
            Backend::Plain => plain(steps, &targets)?,
            Backend::FusedCpu => fused(steps, &targets, memory()?)?,
            Backend::FusedCuda => {
                let device = weights.device().unwrap_or(&Device::Cpu);
                fused_on_gpu(steps, &targets, memory()?, device)?
            }
        };
        let replica: Vec<Tensor> = next.iter().map(|parameter| parameter.as_tensor().clone()).collect();
        communicator.all_gather(cut, &replica)?;
        let finite = communicator.agree(&[f64::from(u8::from(finite))])?.iter().all(|finite| *finite == 1.0);
        Ok((Moments { first, second, updates }, finite))
    }

    /// The sums of squares of all pieces of all slices, where gradients are clipped. Otherwise nothing is read.
    pub(super) fn sums(
        &self,
        communicator: &dyn Communicator,
        slice: &Slice<'_>,
        spans: &[Span],
        specs: &[ParameterSpec],
        parameters: &[Tensor],
    ) -> std::result::Result<Vec<f64>, CollectiveError> {
        let clips_l2 = match self.config.clip {
            Clip::Off => return Ok(Vec::new()),
            Clip::Global { .. } => false,
            Clip::PerVariable { .. } => true,
        };
        let summed =
            spans.iter().zip(parameters).zip(slice.gradients).map(|((span, parameter), gradient)| {
                let l2 = if clips_l2 { self.l2_of(&specs[span.tensor]) } else { 0.0 };
                Summed { gradient, parameter, l2 }
            });
        let backend = slice.weights.device().map_or(Backend::FusedCpu, |device| self.kernels.on(device));
        communicator.agree(&sums_of_squares(summed, slice.cut.piece(), backend)?)
    }

    fn l2_of(&self, spec: &ParameterSpec) -> f64 {
        if self.config.l2_parameters.contains(&spec.name) { self.config.l2 } else { 0.0 }
    }

    /// The [`Coefficients`] of every parameter, for update number `t`, counted from 1. `sums` are the sums of squares of
    /// all pieces of `cut`, where gradients are clipped.
    pub(super) fn coefficients(
        &self,
        cut: &Cut,
        specs: &[ParameterSpec],
        sums: &[f64],
        learning_rate: f64,
        t: u64,
    ) -> Result<Vec<Coefficients>> {
        let config = &self.config;
        if let Some(unknown) =
            config.l2_parameters.iter().find(|l2| !specs.iter().any(|spec| spec.name == **l2))
        {
            candle_core::bail!("l2_parameters names `{unknown}`, which the model does not have");
        }
        let t = t as f64;
        let (correction1, correction2) = (1.0 - config.beta1.powf(t), 1.0 - config.beta2.powf(t));
        let (rate, second_factor) = match config.epsilon_place {
            EpsilonPlace::AfterCorrection => (learning_rate / correction1, 1.0 / correction2),
            EpsilonPlace::BeforeCorrection => (learning_rate * correction2.sqrt() / correction1, 1.0),
        };
        let mut all = Vec::with_capacity(specs.len());
        let (mut global, mut rest) = (0.0, sums);
        for (index, spec) in specs.iter().enumerate() {
            let l2 = self.l2_of(spec);
            let (mut gradient_factor, mut parameter_factor) = (1.0, l2);
            if config.clip != Clip::Off {
                let Some((own, others)) = rest.split_at_checked(cut.pieces_of(index)) else {
                    candle_core::bail!("the members gave {} sums of squares, too few", sums.len());
                };
                rest = others;
                let sum = own.iter().sum::<f64>();
                if let Clip::PerVariable { norm } = config.clip {
                    gradient_factor = norm / sum.sqrt().max(norm);
                    parameter_factor = gradient_factor * l2;
                }
                global += sum;
            }
            all.push(Coefficients {
                beta1: config.beta1,
                beta2: config.beta2,
                rate,
                second_factor,
                epsilon: config.epsilon,
                gradient_factor,
                parameter_factor,
            });
        }
        if let Clip::Global { norm } = config.clip {
            // All gradients have one factor, and L2 has none.
            let factor = norm / global.sqrt().max(norm);
            all.iter_mut().for_each(|coefficients| coefficients.gradient_factor = factor);
        }
        Ok(all)
    }
}

/// The parts of these parameters that the spans tell, in place and without a tape.
pub(super) fn views(spans: &[Span], parameters: &[Var]) -> Result<Vec<Tensor>> {
    spans.iter().map(|span| span.view(&parameters[span.tensor].as_detached_tensor())).collect()
}

/// Refuses a slice whose tensors do not fit the spans.
pub(super) fn check_slice(
    slice: &Slice<'_>,
    spans: &[Span],
    specs: &[ParameterSpec],
    parameters: &[Tensor],
) -> Result<()> {
    let Slice { cut, weights, moments, gradients, .. } = slice;
    let shapes = weights.parameters.iter().map(|parameter| parameter.shape());
    if !shapes.eq(cut.shapes()) || specs.len() != weights.parameters.len() {
        candle_core::bail!("the slices are cut for other parameters");
    }
    let count = spans.len();
    if [gradients.len(), moments.first.len(), moments.second.len()] != [count; 3] {
        candle_core::bail!(
            "{count} parameters with {} gradients and {} + {} moments",
            gradients.len(),
            moments.first.len(),
            moments.second.len()
        );
    }
    for ((span, parameter), gradient) in spans.iter().zip(parameters).zip(*gradients) {
        if gradient.shape() != parameter.shape() {
            let (found, expected) = (gradient.dims(), parameter.dims());
            candle_core::bail!("gradient {found:?} for `{}` {expected:?}", specs[span.tensor].name);
        }
    }
    Ok(())
}

/// Makes new memory for a version of these weights.
pub(super) fn allocate(weights: &Weights) -> Result<Vec<Var>> {
    let var = |parameter: &Var| Var::zeros(parameter.shape(), parameter.dtype(), parameter.device());
    weights.parameters.iter().map(var).collect()
}

/// Refuses memory of another shape than that of `current`, and the very tensors that an update reads.
pub(super) fn check_memory(recycled: &Weights, current: &Weights) -> Result<()> {
    fn tensors(weights: &Weights) -> impl ExactSizeIterator<Item = &Tensor> {
        weights.parameters.iter().map(|parameter| parameter.as_tensor())
    }
    check_recycled(tensors(recycled), tensors(current))
}

/// As [`check_memory`], for moments.
pub(super) fn check_moments(recycled: &Moments, current: &Moments) -> Result<()> {
    check_recycled(recycled.first.iter(), current.first.iter())?;
    check_recycled(recycled.second.iter(), current.second.iter())
}

fn check_recycled<'a>(
    recycled: impl ExactSizeIterator<Item = &'a Tensor>,
    current: impl ExactSizeIterator<Item = &'a Tensor>,
) -> Result<()> {
    let same_count = recycled.len() == current.len();
    for (old, current) in recycled.zip(current) {
        if old.shape() != current.shape()
            || old.dtype() != current.dtype()
            || !old.device().same_device(current.device())
        {
            candle_core::bail!("the recycled version has other shapes than the current one");
        }
        if old.id() == current.id() {
            candle_core::bail!("the recycled version is the current one");
        }
    }
    if !same_count {
        candle_core::bail!("the recycled version has other tensors than the current one");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
