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

/// `left · right` of two matrices as [`matmul`] computes it, where a row of the result depends on no other row, and not on
/// their number: the score of a video in evaluation does not depend on the batch in which it comes.
pub(crate) fn matmul_by_rows(left: &Tensor, right: &Tensor, precision: Precision) -> Result<Tensor> {
    let ((rows, depth), columns) = (left.dims2()?, right.dim(1)?);
    let least = least_rows(depth, columns);
    if precision != Precision::F32 || rows == 0 || rows >= least {
        return matmul(left, right, precision);
    }
    matmul(&left.pad_with_zeros(0, 0, least - rows)?, right, precision)?
        .narrow(0, 0, rows)?
        .force_contiguous()
}

/// The rows from which on the products of candle's CPU backend add up the terms of each number in one order, whatever the
/// number of rows. The crate `gemm`, which computes them, has other orders for up to 256 numbers of a result, for a single row,
/// and for sums of more than 512 terms where a result has at most 64 rows and columns. A test holds this against the crate.
fn least_rows(depth: usize, columns: usize) -> usize {
    let least = 256 / columns.max(1) + 1;
    if depth > 512 && columns <= 64 { least.max(65) } else { least.max(2) }
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// A matrix of numbers that no sum keeps exactly.
    fn matrix(rows: usize, columns: usize, seed: usize) -> Tensor {
        let values =
            (0..rows * columns).map(|i| (((i + seed) * 2_654_435_761) % 1_000_003) as f32 / 500_000.0 - 1.0);
        Tensor::from_vec(values.collect::<Vec<f32>>(), (rows, columns), &Device::Cpu).unwrap()
    }

    fn bits(tensor: &Tensor) -> Vec<Vec<u32>> {
        let rows = tensor.to_vec2::<f32>().unwrap();
        rows.into_iter().map(|row| row.into_iter().map(f32::to_bits).collect()).collect()
    }

    #[test]
    fn a_row_is_the_same_among_any_number_of_rows() {
        for (depth, columns) in [
            (3, 1),
            (16, 5),
            (40, 64),
            (512, 64),
            (513, 64),
            (1500, 30),
            (700, 65),
            (1024, 300),
            (5000, 100),
            (2048, 3),
        ] {
            let all = matrix(400, depth, 7);
            let weight = matrix(columns, depth, 3);
            let right = weight.t().unwrap();
            let whole = bits(&matmul_by_rows(&all, &right, Precision::F32).unwrap());
            for rows in [1, 2, 3, 7, 8, 31, 50, 64, 65, 80, 127, 300] {
                for first in [0, 1, 400 - rows] {
                    let part = all.narrow(0, first, rows).unwrap().contiguous().unwrap();
                    let part = bits(&matmul_by_rows(&part, &right, Precision::F32).unwrap());
                    assert_eq!(part, whole[first..first + rows], "{rows} of {depth} by {columns}");
                }
            }
        }
    }
}
