//! The norms of gradients.

use candle_core::{DType, Result, Tensor};

use crate::kernels::backend::Backend;
use crate::kernels::cpu::squares;

/// The sum of the squares of `gradient + l2·parameter`, in f64. With an `l2` of 0, the parameter is not read.
pub(super) fn sum_of_squares(gradient: &Tensor, parameter: &Tensor, l2: f64) -> Result<f64> {
    if Backend::of(gradient.device()) == Backend::FusedCpu {
        return squares::sum_of_squares(gradient, parameter, l2);
    }
    let sum = if l2 == 0.0 { gradient.clone() } else { (gradient + parameter.affine(l2, 0.0)?)? };
    sum.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar()
}
