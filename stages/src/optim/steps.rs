//! The arithmetic of an update of Adam, by plain tensor operations or by the kernels of the CPU or of a GPU.

use candle_core::{Device, Result, Tensor};

use crate::kernels::adam::{Coefficients, New, Old};
use crate::kernels::cpu;
use crate::kernels::cuda;
use crate::kernels::finite::all_finite;

/// The new moments of some parameters, with one tensor of each kind for each.
#[derive(Default)]
pub(super) struct NewMoments {
    pub(super) first: Vec<Tensor>,
    pub(super) second: Vec<Tensor>,
}

/// Updates by plain tensor operations on any device, and writes the new parameters into `targets`. Returns the new
/// moments, and whether all new numbers are finite.
pub(super) fn plain<'a>(
    steps: impl Iterator<Item = (&'a Coefficients, Old<'a>)>,
    targets: &[Tensor],
) -> Result<(NewMoments, bool)> {
    let mut next = NewMoments::default();
    for ((coefficients, old), target) in steps.zip(targets) {
        let mut gradient = old.gradient.affine(coefficients.gradient_factor, 0.0)?;
        if coefficients.parameter_factor != 0.0 {
            gradient = (gradient + old.parameter.affine(coefficients.parameter_factor, 0.0)?)?;
        }
        let (beta1, beta2) = (coefficients.beta1, coefficients.beta2);
        let first = (old.first.affine(beta1, 0.0)? + gradient.affine(1.0 - beta1, 0.0)?)?;
        let second = (old.second.affine(beta2, 0.0)? + gradient.sqr()?.affine(1.0 - beta2, 0.0)?)?;
        let root = (second.affine(coefficients.second_factor, 0.0)?.sqrt()? + coefficients.epsilon)?;
        let parameter = (old.parameter - first.div(&root)?.affine(coefficients.rate, 0.0)?)?;
        target.flatten_all()?.slice_set(&parameter.flatten_all()?, 0, 0)?;
        next.first.push(first);
        next.second.push(second);
    }
    let finite = all_finite(targets.iter().chain(&next.second))?;
    Ok((next, finite))
}

/// Updates with the CPU's kernel, which writes the new parameters into `targets` and the new moments into `moments`.
/// Returns the new moments, and whether all new numbers are finite.
pub(super) fn fused<'a>(
    steps: impl Iterator<Item = (&'a Coefficients, Old<'a>)>,
    targets: &[Tensor],
    moments: NewMoments,
) -> Result<(NewMoments, bool)> {
    let mut finite = true;
    for (index, (coefficients, old)) in steps.enumerate() {
        let new =
            New { parameter: &targets[index], first: &moments.first[index], second: &moments.second[index] };
        finite &= cpu::adam::update(coefficients, &old, &new)?;
    }
    Ok((moments, finite))
}

/// As [`fused`], with the kernel of a GPU: one launch for all parameters, on `device`. It waits for the card, because the
/// caller must know whether all numbers are finite before it gives the version away.
pub(super) fn fused_on_gpu<'a>(
    steps: impl Iterator<Item = (&'a Coefficients, Old<'a>)>,
    targets: &[Tensor],
    moments: NewMoments,
    device: &Device,
) -> Result<(NewMoments, bool)> {
    let mut made: Vec<(Coefficients, Old)> = steps.map(|(coefficients, old)| (*coefficients, old)).collect();
    let gradients = made.iter().map(|(_, old)| old.gradient.contiguous()).collect::<Result<Vec<_>>>()?;
    for ((_, old), gradient) in made.iter_mut().zip(&gradients) {
        old.gradient = gradient;
    }
    let news: Vec<New> = targets
        .iter()
        .zip(&moments.first)
        .zip(&moments.second)
        .map(|((parameter, first), second)| New { parameter, first, second })
        .collect();
    let finite = cuda::adam::update(&made, &news, device)?.is_finite()?;
    Ok((moments, finite))
}
