//! The norms of gradients.
//!
//! Law: a norm is added up of the sums over the pieces of a cut, in the order of the pieces, so that it does not depend on
//! the number of slices.

use candle_core::{DType, Result, Tensor};

use crate::kernels::backend::Backend;
use crate::kernels::cpu::squares;

/// The sums of the squares of `gradient + l2·parameter` over each `piece` elements, in f64. The last piece may be
/// shorter. With an `l2` of 0, the parameter is not read.
pub(super) fn sums_of_squares(
    gradient: &Tensor,
    parameter: &Tensor,
    l2: f64,
    piece: usize,
) -> Result<Vec<f64>> {
    if Backend::of(gradient.device()) == Backend::FusedCpu {
        return squares::sums_of_squares(gradient, parameter, l2, piece);
    }
    let sum = if l2 == 0.0 { gradient.clone() } else { (gradient + parameter.affine(l2, 0.0)?)? };
    let squares = sum.to_dtype(DType::F64)?.sqr()?.flatten_all()?;
    let count = squares.elem_count();
    let (pieces, rest) = (count / piece, count % piece);
    let mut sums = Vec::with_capacity(pieces + 1);
    if pieces > 0 {
        sums.extend(
            squares.narrow(0, 0, pieces * piece)?.reshape((pieces, piece))?.sum(1)?.to_vec1::<f64>()?,
        );
    }
    if rest > 0 {
        sums.push(squares.narrow(0, pieces * piece, rest)?.sum_all()?.to_scalar::<f64>()?);
    }
    Ok(sums)
}
