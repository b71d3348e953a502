//! Adam (Kingma and Ba 2015), with L2 on named parameters and clipping.
//!
//! Law: version n+1 is written into memory of its own, so that whoever holds version n keeps it.

use candle_core::{Result, Tensor, Var};

use super::config::{AdamConfig, Clip, EpsilonPlace};
use super::norms::sum_of_squares;
use crate::kernels::adam::{Coefficients, New, Old};
use crate::kernels::backend::{Backend, Kernels};
use crate::kernels::cpu;
use crate::kernels::finite::all_finite;
use crate::model::{Gradients, Weights};

/// The state of Adam, with one tensor of each kind for each parameter, in parameter order.
#[derive(Clone, Debug)]
pub struct Moments {
    /// The decayed mean m of the gradients.
    pub first: Vec<Tensor>,
    /// The decayed mean v of the squares of the gradients.
    pub second: Vec<Tensor>,
    /// The number t of updates made.
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
    /// The implementation that computes: [`Kernels::Plain`], or for any other value a fused kernel on the CPU. Both
    /// give the same numbers up to rounding.
    pub kernels: Kernels,
}

/// The tensors of a version, with one of each kind for each parameter, in parameter order.
#[derive(Default)]
struct Tensors {
    parameters: Vec<Var>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
}

impl Adam {
    /// Makes an optimizer with these settings and the fastest kernels.
    pub fn new(config: AdamConfig) -> Self {
        Self { config, kernels: Kernels::Auto }
    }

    /// Makes the next version of weights and moments. Its buffers are those of `weights`, and the caller replaces them.
    ///
    /// Every norm and bias correction is computed in f64. On the CPU, the update is one pass over memory. It writes
    /// into `recycled`, a version that nobody else holds, such as the one of two versions ago. Then nothing of the size
    /// of the parameters is allocated. Without `recycled`, and on other devices, new tensors are made.
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
        let count = weights.parameters.len();
        if [gradients.tensors.len(), moments.first.len(), moments.second.len()] != [count; 3] {
            candle_core::bail!(
                "{count} parameters with {} gradients and {} + {} moments",
                gradients.tensors.len(),
                moments.first.len(),
                moments.second.len()
            );
        }
        let updates = moments.updates + 1;
        let coefficients = self.coefficients(weights, gradients, learning_rate, updates)?;
        let detached: Vec<Tensor> = weights.parameters.iter().map(|p| p.as_detached_tensor()).collect();
        let olds = detached.iter().zip(&moments.first).zip(&moments.second).zip(&gradients.tensors);
        let olds =
            olds.map(|(((parameter, first), second), gradient)| Old { parameter, first, second, gradient });
        let steps = coefficients.iter().zip(olds);
        let backend = weights.device().map_or(Backend::FusedCpu, |device| self.kernels.on(device));
        let (next, finite) = match backend {
            Backend::Plain => plain(steps)?,
            Backend::FusedCpu => {
                let memory = match recycled {
                    Some(recycled) => recycle(recycled, weights, moments)?,
                    None => allocate(&detached)?,
                };
                fused(steps, memory)?
            }
        };
        let Tensors { parameters, first, second } = next;
        let weights = Weights { model: weights.model.clone(), parameters, buffers: weights.buffers.clone() };
        Ok(Updated { weights, moments: Moments { first, second, updates }, finite })
    }

    /// The [`Coefficients`] of every parameter, for update number `t`, counted from 1.
    fn coefficients(
        &self,
        weights: &Weights,
        gradients: &Gradients,
        learning_rate: f64,
        t: u64,
    ) -> Result<Vec<Coefficients>> {
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
        let mut all = Vec::with_capacity(names.len());
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
            let (mut gradient_factor, mut parameter_factor) = (1.0, l2);
            match config.clip {
                Clip::Off => {}
                Clip::Global { .. } => global += sum_of_squares(gradient, parameter, 0.0)?,
                Clip::PerVariable { norm } => {
                    gradient_factor = norm / sum_of_squares(gradient, parameter, l2)?.sqrt().max(norm);
                    parameter_factor = gradient_factor * l2;
                }
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

/// Updates by plain tensor operations on any device. Returns whether the new numbers are finite.
fn plain<'a>(steps: impl Iterator<Item = (&'a Coefficients, Old<'a>)>) -> Result<(Tensors, bool)> {
    let mut next = Tensors::default();
    for (coefficients, old) in steps {
        let mut gradient = old.gradient.affine(coefficients.gradient_factor, 0.0)?;
        if coefficients.parameter_factor != 0.0 {
            gradient = (gradient + old.parameter.affine(coefficients.parameter_factor, 0.0)?)?;
        }
        let (beta1, beta2) = (coefficients.beta1, coefficients.beta2);
        let first = (old.first.affine(beta1, 0.0)? + gradient.affine(1.0 - beta1, 0.0)?)?;
        let second = (old.second.affine(beta2, 0.0)? + gradient.sqr()?.affine(1.0 - beta2, 0.0)?)?;
        let root = (second.affine(coefficients.second_factor, 0.0)?.sqrt()? + coefficients.epsilon)?;
        let parameter = (old.parameter - first.div(&root)?.affine(coefficients.rate, 0.0)?)?;
        next.parameters.push(Var::from_tensor(&parameter)?);
        next.first.push(first);
        next.second.push(second);
    }
    let finite = all_finite(next.parameters.iter().map(|p| p.as_tensor()).chain(&next.second))?;
    Ok((next, finite))
}

/// Updates with the CPU's kernel, which writes into `memory`. Returns whether the new numbers are finite.
fn fused<'a>(
    steps: impl Iterator<Item = (&'a Coefficients, Old<'a>)>,
    memory: Tensors,
) -> Result<(Tensors, bool)> {
    let mut finite = true;
    for (index, (coefficients, old)) in steps.enumerate() {
        let new = New {
            parameter: &memory.parameters[index],
            first: &memory.first[index],
            second: &memory.second[index],
        };
        finite &= cpu::adam::update(coefficients, &old, &new)?;
    }
    Ok((memory, finite))
}

/// Makes new memory for a version of these parameters.
fn allocate(parameters: &[Tensor]) -> Result<Tensors> {
    let zeros = || parameters.iter().map(Tensor::zeros_like).collect::<Result<_>>();
    let var = |parameter: &Tensor| Var::zeros(parameter.shape(), parameter.dtype(), parameter.device());
    let vars = parameters.iter().map(var).collect::<Result<_>>()?;
    Ok(Tensors { parameters: vars, first: zeros()?, second: zeros()? })
}

/// The memory of an old version. Memory of another shape is refused, and so are the very tensors that the update reads.
fn recycle(recycled: (Weights, Moments), weights: &Weights, moments: &Moments) -> Result<Tensors> {
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
    let (weights, moments) = recycled;
    Ok(Tensors { parameters: weights.parameters, first: moments.first, second: moments.second })
}

#[cfg(test)]
mod tests;
