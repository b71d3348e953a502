//! Products with a weight matrix on the GPU. The gradient of the weight is deposited, as on the CPU.

use candle_core::{Result, Tensor};

use super::only_f32;
use super::product::{operand, product};
use crate::kernels::deposits::deposit;
use crate::kernels::precision::Precision;
use crate::kernels::tape::attach;

/// `x Wᵀ` [B, out] for `x` [B, in] and `weight` [out, in]. If the weight is a parameter, the result has a tape, with
/// gradients for both.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, precision: Precision) -> Result<Tensor> {
    [x, weight].into_iter().try_for_each(only_f32)?;
    let (input, matrix) = (operand(x, precision)?, operand(weight, precision)?);
    let y = product(&input, &matrix.t()?)?;
    if !weight.is_variable() {
        return Ok(y);
    }
    let target = weight.clone();
    let backward = move |_: &Tensor, dy: &Tensor| {
        let dy = operand(dy, precision)?;
        deposit(&target, product(&dy.t()?, &input)?)?;
        Ok(vec![Some(product(&dy, &matrix)?), None])
    };
    attach("linear", y, &[x, weight], Box::new(backward))
}
