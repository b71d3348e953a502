//! The frames of a modality on the GPU: bytes move to the card, and what products take is made of them there.

use candle_core::{DType, Result, Tensor};

use super::columns::add_row;
use super::launch::{Argument, Grid, Kernel, fresh, launch};
use super::product::{operand, product};
use crate::kernels::precision::Precision;

use Argument::{Double, Read, Size, Word, Write};

/// The rows that one thread computes: `ROWS_OF_THREAD` of source/codes.cu.
const ROWS_OF_THREAD: usize = 16;

const fn kernel(name: &'static str) -> Kernel {
    Kernel { source: "codes", name }
}

/// How bytes become features: `q · 4/255 − 2 + offset`, times `scale` [F] if there is one.
#[derive(Clone)]
pub(crate) struct Quantisation {
    offset: f64,
    scale: Option<Tensor>,
}

impl Quantisation {
    /// # Errors
    /// The scale is not f32.
    pub(crate) fn new(offset: f64, scale: Option<&Tensor>) -> Result<Self> {
        let scale = scale.map(|scale| scale.detach().contiguous()).transpose()?;
        if let Some(scale) = &scale {
            super::only_f32(scale)?;
        }
        Ok(Self { offset, scale })
    }

    /// The scale and whether there is one, for a kernel that does not read `instead` in its place.
    fn arguments<'a>(&'a self, instead: &'a Tensor) -> [Argument<'a>; 2] {
        [Read(self.scale.as_ref().unwrap_or(instead)), Word(u32::from(self.scale.is_some()))]
    }

    fn check(&self, bytes: &Tensor) -> Result<(usize, usize)> {
        let (rows, width) = bytes.dims2()?;
        if bytes.dtype() != DType::U8 || self.scale.as_ref().is_some_and(|scale| scale.dims() != [width]) {
            candle_core::bail!("the frames are {:?} {:?}", bytes.dtype(), bytes.dims());
        }
        Ok((rows, width))
    }
}

/// The frames of a batch on the GPU, N rows of F features.
pub(crate) enum Frames {
    /// The features [N, F] in f32.
    Features(Tensor),
    /// The bytes of the features, for products of bf16 operands.
    Codes(Codes),
}

/// Bytes less 128 in bf16, which holds them exactly, with the way to features.
///
/// A product rounds the weights alone. The factors of the columns go into the weights before they are rounded, and the
/// shifts add a constant to each result.
pub(crate) struct Codes {
    /// bf16 [N, F].
    codes: Tensor,
    quantisation: Quantisation,
}

/// The features [N, F] of byte rows [N, F], in f32.
pub(crate) fn features(bytes: &Tensor, quantisation: &Quantisation) -> Result<Tensor> {
    let (rows, width) = quantisation.check(bytes)?;
    let (bytes, device) = (bytes.contiguous()?, bytes.device());
    let x = fresh(&[rows, width], DType::F32, device)?;
    let mut arguments = vec![Read(&bytes)];
    arguments.extend(quantisation.arguments(&x));
    arguments.extend([Double(quantisation.offset), Size(rows), Size(width), Write(&x)]);
    launch(device, kernel("features"), Grid::columns(width, rows.div_ceil(ROWS_OF_THREAD))?, &arguments)?;
    Ok(x)
}

impl Codes {
    /// The codes of byte rows [N, F].
    pub(crate) fn new(bytes: &Tensor, quantisation: Quantisation) -> Result<Self> {
        let (rows, width) = quantisation.check(bytes)?;
        let (bytes, device) = (bytes.contiguous()?, bytes.device());
        let codes = fresh(&[rows, width], DType::BF16, device)?;
        let elements = rows * width;
        let arguments = [Read(&bytes), Size(elements), Write(&codes)];
        launch(device, kernel("codes"), Grid::elements(elements)?, &arguments)?;
        Ok(Self { codes, quantisation })
    }

    fn times(&self, weight: &Tensor) -> Result<Tensor> {
        let ((rows, width), device) = (weight.dims2()?, weight.device());
        let weight = weight.detach().contiguous()?;
        let scaled = fresh(&[rows, width], DType::BF16, device)?;
        let mut arguments = vec![Read(&weight)];
        arguments.extend(self.quantisation.arguments(&weight));
        arguments.extend([Size(rows), Size(width), Write(&scaled)]);
        let grid = Grid::columns(width, rows.div_ceil(ROWS_OF_THREAD))?;
        launch(device, kernel("weights_for_codes"), grid, &arguments)?;
        let constants = fresh(&[rows], DType::F32, device)?;
        let mut arguments = vec![Read(&weight)];
        arguments.extend(self.quantisation.arguments(&weight));
        arguments.extend([Double(self.quantisation.offset), Size(rows), Size(width), Write(&constants)]);
        launch(device, kernel("constants_for_codes"), Grid::segments(rows)?, &arguments)?;
        let y = product(&self.codes, &scaled.t()?)?;
        add_row(&y, &constants)?;
        Ok(y)
    }

    fn gradient(&self, narrow: &Tensor, sums: &Tensor) -> Result<Tensor> {
        let values = product(&narrow.t()?, &self.codes)?;
        let ((rows, width), device) = (values.dims2()?, values.device());
        let mut arguments = vec![Read(sums)];
        arguments.extend(self.quantisation.arguments(&values));
        arguments.extend([Double(self.quantisation.offset), Size(rows), Size(width), Write(&values)]);
        let grid = Grid::columns(width, rows.div_ceil(ROWS_OF_THREAD))?;
        launch(device, kernel("gradients_for_codes"), grid, &arguments)?;
        Ok(values)
    }
}

impl Frames {
    /// N and F.
    pub(crate) fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Features(x) => x.dims2(),
            Self::Codes(codes) => codes.codes.dims2(),
        }
    }

    /// The precision of the products that follow from these frames.
    pub(crate) fn precision(&self) -> Precision {
        match self {
            Self::Features(_) => Precision::F32,
            Self::Codes(_) => Precision::Bf16,
        }
    }

    /// x Wᵀ [N, out] for a weight [out, F].
    pub(super) fn times(&self, weight: &Tensor) -> Result<Tensor> {
        match self {
            Self::Features(x) => product(x, &weight.detach().contiguous()?.t()?),
            Self::Codes(codes) => codes.times(weight),
        }
    }

    /// dᵀ x [out, F] for a gradient `d` [N, out] and the sums of its columns, f64 [out].
    pub(super) fn gradient(&self, d: &Tensor, sums: &Tensor) -> Result<Tensor> {
        let narrow = operand(d, self.precision())?;
        match self {
            Self::Features(x) => product(&narrow.t()?, x),
            Self::Codes(codes) => codes.gradient(&narrow, sums),
        }
    }
}
