//! From a loss to the gradients of the parameters. Gradients come in parameter order, one per parameter, and are the
//! same bits however many threads computed them.

use candle_core::{Result, Tensor};

use super::definition::Weights;
use crate::kernels::deposits;

/// The gradients of a loss, one for each parameter in the order of [`super::Model::parameters`], without tape.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// One gradient for each parameter, with the shape and type of the parameter.
    pub tensors: Vec<Tensor>,
}

/// The gradients of the scalar `loss` for every parameter of `weights`. A parameter on which the loss does not depend
/// gets zeros.
pub fn backward(loss: &Tensor, weights: &Weights) -> Result<Gradients> {
    let (mut taped, mut deposits) = deposits::collect(|| loss.backward())?;
    let tensors = weights
        .parameters
        .iter()
        .map(|parameter| match (deposits.remove(parameter), taped.remove(parameter)) {
            (Some(one), None) | (None, Some(one)) => one.detach().contiguous(),
            (Some(deposit), Some(taped)) => deposit.add(&taped)?.detach().contiguous(),
            (None, None) => parameter.zeros_like(),
        })
        .collect::<Result<_>>()?;
    Ok(Gradients { tensors })
}
