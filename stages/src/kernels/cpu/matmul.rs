//! Products of two tensors in either precision.

use candle_core::{Result, Tensor};

use crate::kernels::bf16::product_once;
use crate::kernels::flat::{Flat, tensor};
use crate::kernels::precision::Precision;
use crate::kernels::tiles::Matrix;

/// `left · right` of two matrices. In bf16, both are f32 on the CPU, and so is the result.
pub(crate) fn matmul(left: &Tensor, right: &Tensor, precision: Precision) -> Result<Tensor> {
    if precision == Precision::F32 {
        return left.matmul(right);
    }
    let ((rows, depth), (right_rows, columns)) = (left.dims2()?, right.dims2()?);
    if depth != right_rows {
        candle_core::bail!("a product of {:?} and {:?}", left.dims(), right.dims());
    }
    let values = with_matrix(left, |left| with_matrix(right, |right| Ok(product_once(left, right))))?;
    tensor(values, &[rows, columns])
}

/// Calls `body` with the values of an f32 matrix on the CPU, in place where it or its transposed form is contiguous.
pub(crate) fn with_matrix<R>(matrix: &Tensor, body: impl FnOnce(Matrix<f32>) -> Result<R>) -> Result<R> {
    let transposed = matrix.t()?;
    if !matrix.is_contiguous() && transposed.is_contiguous() {
        let (rows, columns) = transposed.dims2()?;
        return body(Matrix::of_rows(&Flat::<f32>::of(&transposed)?, rows, columns).transposed());
    }
    let matrix = matrix.contiguous()?;
    let (rows, columns) = matrix.dims2()?;
    body(Matrix::of_rows(&Flat::<f32>::of(&matrix)?, rows, columns))
}
