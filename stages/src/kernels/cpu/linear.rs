//! Products with a weight matrix whose gradient is deposited. For a matrix of 300 MB, such as that of NeXtVLAD's hidden
//! layer, this saves the zeros that candle would make and the sum that it would take.
//!
//! The products are those of evaluation, bit for bit.

use candle_core::{Result, Tensor};

use super::matmul::{matmul, matmul_by_rows};
use crate::kernels::deposits::deposit;
use crate::kernels::precision::Precision;
use crate::kernels::tape::attach;

/// `x Wᵀ` [B, out] for `x` [B, in] and a parameter `weight` [out, in], with gradients for both.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, precision: Precision) -> Result<Tensor> {
    let (input, matrix, target) = (x.detach(), weight.detach(), weight.clone());
    let y = matmul_by_rows(&input, &matrix.t()?, precision)?;
    let backward = move |_: &Tensor, dy: &Tensor| {
        deposit(&target, matmul(&dy.t()?, &input, precision)?)?;
        Ok(vec![Some(matmul(dy, &matrix, precision)?), None])
    };
    attach("linear", y, &[x, weight], Box::new(backward))
}

/// `x Wᵀ` [B, out] for an input `x` [B, in] without tape and a parameter `weight` [out, in].
///
/// candle would compute the gradient of `x` too, which is another product of the same size. Here, only the gradient of
/// the weight is computed.
pub(crate) fn linear_of_data(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (input, target) = (x.clone(), weight.clone());
    let y = matmul_by_rows(x, &weight.detach().t()?, Precision::F32)?;
    let backward = move |_: &Tensor, dy: &Tensor| {
        deposit(&target, dy.t()?.matmul(&input)?)?;
        Ok(vec![None])
    };
    attach("linear", y, &[weight], Box::new(backward))
}
