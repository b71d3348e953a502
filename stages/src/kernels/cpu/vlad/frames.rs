//! The frames of a modality as an operand of products.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use crate::kernels::bf16::{Bf16, product, product_once};
use crate::kernels::cpu::affine::Lines;
use crate::kernels::cpu::columns::add_row;
use crate::kernels::cpu::matmul::{matmul_by_rows, with_matrix};
use crate::kernels::flat::{Flat, tensor, to_f64};
use crate::kernels::precision::Precision;
use crate::kernels::tiles::{Matrix, Right};

/// The frames of a batch, N rows of F features.
pub(crate) enum Frames {
    /// The features [N, F], in the float type of the model.
    Features(Tensor),
    /// The bytes of the features, for products of bf16 operands.
    Codes(Codes),
}

/// Bytes with the lines that make features of them: `(byte − 128) · scale + shift`, column by column.
///
/// A byte less 128 is exact in bf16, so a product rounds the weights alone. The scale goes into the weights before they
/// are rounded, and the shift adds a constant to each result.
pub(crate) struct Codes {
    /// u8 [N, F], contiguous.
    bytes: Tensor,
    /// [F], from bytes less 128 to features.
    lines: Lines,
}

impl Codes {
    /// The features `q · 4/255 − 2 + offset`, times `scale` [F], of byte rows [N, F] on the CPU.
    pub(crate) fn new(bytes: &Tensor, offset: f64, scale: Option<&Tensor>) -> Result<Self> {
        Ok(Self { bytes: bytes.contiguous()?, lines: Self::lines(bytes.dim(1)?, offset, scale)? })
    }

    /// The lines from bytes less 128 to the features of [`Codes::new`], for `width` columns.
    pub(crate) fn lines(width: usize, offset: f64, scale: Option<&Tensor>) -> Result<Lines> {
        let scale = scale.map_or_else(|| Ok(vec![1.0; width]), to_f64)?;
        let step = 4.0 / 255.0;
        Ok(Lines {
            shift: scale.iter().map(|scale| scale * (128.0 * step - 2.0 + offset)).collect(),
            scale: scale.iter().map(|scale| scale * step).collect(),
        })
    }

    /// `W · shift` [out] for a weight [out, F].
    fn constants(&self, weight: &[f32]) -> Vec<f32> {
        let constant = |row: &[f32]| {
            let products =
                row.iter().zip(&self.lines.shift).map(|(weight, shift)| f64::from(*weight) * shift);
            products.sum::<f64>() as f32
        };
        weight.par_chunks(self.lines.scale.len().max(1)).map(constant).collect()
    }

    /// `W · diag(factor)` [out, F] for a weight [out, F].
    fn scaled(&self, weight: &[f32]) -> Vec<f32> {
        let factor: Vec<f32> = self.lines.scale.iter().map(|factor| *factor as f32).collect();
        let mut scaled = vec![0.0; weight.len()];
        let width = factor.len().max(1);
        scaled.par_chunks_mut(width).zip(weight.par_chunks(width)).for_each(|(scaled, weight)| {
            for ((scaled, weight), factor) in scaled.iter_mut().zip(weight).zip(&factor) {
                *scaled = weight * factor;
            }
        });
        scaled
    }

    fn times(&self, weight: &Tensor) -> Result<Tensor> {
        let (rows, columns) = self.bytes.dims2()?;
        let (out, weight) = (weight.dim(0)?, weight.contiguous()?);
        let weight = Flat::<f32>::of(&weight)?;
        let scaled = self.scaled(&weight);
        let bytes = Flat::<u8>::of(&self.bytes)?;
        let left = Matrix::of_rows(&bytes, rows, columns);
        let mut values = product_once(left, Matrix::of_rows(&scaled, out, columns).transposed());
        add_row(&mut values, &self.constants(&weight));
        tensor(values, &[rows, out])
    }

    fn gradients<const M: usize>(&self, gradients: [(&Tensor, &[f64]); M]) -> Result<[Tensor; M]> {
        let (rows, columns) = self.bytes.dims2()?;
        let bytes = Flat::<u8>::of(&self.bytes)?;
        let right = Right::<Bf16>::pack(Matrix::of_rows(&bytes, rows, columns));
        let mut made = Vec::with_capacity(M);
        for (gradient, sums) in gradients {
            let mut values = with_matrix(&gradient.t()?, |left| Ok(product(left, &right)))?;
            values.par_chunks_mut(columns.max(1)).zip(sums.par_iter()).for_each(|(values, sum)| {
                for ((value, factor), shift) in
                    values.iter_mut().zip(&self.lines.scale).zip(&self.lines.shift)
                {
                    *value = (f64::from(*value) * factor + sum * shift) as f32;
                }
            });
            made.push(tensor(values, &[gradient.dim(1)?, columns])?);
        }
        made.try_into().map_err(|_| candle_core::Error::msg("one gradient for each argument"))
    }
}

impl Frames {
    /// N and F.
    pub(crate) fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Features(x) => x.dims2(),
            Self::Codes(codes) => codes.bytes.dims2(),
        }
    }

    /// The float type of products with these frames.
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Self::Features(x) => x.dtype(),
            Self::Codes(_) => DType::F32,
        }
    }

    /// The precision in which everything is computed that follows from these frames.
    pub(crate) fn precision(&self) -> Precision {
        match self {
            Self::Features(_) => Precision::F32,
            Self::Codes(_) => Precision::Bf16,
        }
    }

    /// `x Wᵀ` [N, out] for a weight [out, F].
    pub(crate) fn times(&self, weight: &Tensor) -> Result<Tensor> {
        match self {
            Self::Features(x) => matmul_by_rows(x, &weight.t()?, Precision::F32),
            Self::Codes(codes) => codes.times(weight),
        }
    }

    /// `dᵀ x` [out, F] for each of several gradients `d` [N, out], which come with the sums of their columns [out].
    pub(crate) fn gradients<const M: usize>(&self, gradients: [(&Tensor, &[f64]); M]) -> Result<[Tensor; M]> {
        match self {
            Self::Features(x) => {
                let made = gradients.iter().map(|(d, _)| d.t()?.matmul(x)).collect::<Result<Vec<_>>>()?;
                made.try_into().map_err(|_| candle_core::Error::msg("one gradient for each argument"))
            }
            Self::Codes(codes) => codes.gradients(gradients),
        }
    }
}
