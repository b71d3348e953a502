//! Batch normalisation in training, on the GPU.

use candle_core::{DType, Result, Tensor};

use super::columns::{Padding, line, moments};
use super::launch::{Argument, Grid, Kernel, fresh, launch};
use super::only_f32;
use crate::kernels::cpu::batch_norm::Norm;
use crate::kernels::moments::NormMoments;
use crate::kernels::tape::attach;

use Argument::{Read, Size, Write};

const fn kernel(name: &'static str) -> Kernel {
    Kernel { source: "norm", name }
}

/// Normalises `x` [B, C] with its own mean and biased variance. Returns the result with its tape, and these moments.
pub(crate) fn train(x: &Tensor, norm: &Norm) -> Result<(Tensor, NormMoments)> {
    [x, norm.weight, norm.bias].into_iter().try_for_each(only_f32)?;
    let (rows, width) = x.dims2()?;
    let input = x.detach().contiguous()?;
    let (weight, bias) = (norm.weight.detach(), norm.bias.detach());
    // No rows are padded, and no column lacks a constant: the offset is not read.
    let moments = moments(&input, width, Padding { offset: &bias, folded: false, rows: 0 })?;
    let line = line(&moments, (&weight, &bias), norm.epsilon)?;
    let device = input.device().clone();
    let elements = rows * width;
    let y = fresh(&[rows, width], DType::F32, &device)?;
    let arguments = [
        Read(&input),
        Read(&moments.mean),
        Read(&line.factor),
        Read(&bias),
        Size(elements),
        Size(width),
        Write(&y),
    ];
    launch(&device, kernel("normed"), Grid::elements(elements)?, &arguments)?;
    let reported = NormMoments {
        mean: moments.reported_mean.clone(),
        variance: moments.reported_variance.clone(),
        rows,
    };
    let backward = move |_: &Tensor, gradient: &Tensor| {
        let made = || fresh(&[width], DType::F32, &device);
        let (dweight, dbias, middle, slope) = (made()?, made()?, made()?, made()?);
        let arguments = [
            Read(&input),
            Read(gradient),
            Read(&moments.mean),
            Read(&line.spread),
            Size(rows),
            Size(width),
            Write(&dweight),
            Write(&dbias),
            Write(&middle),
            Write(&slope),
        ];
        launch(&device, kernel("normed_sums"), Grid::elements(width)?, &arguments)?;
        let dx = fresh(&[rows, width], DType::F32, &device)?;
        let arguments = [
            Read(&input),
            Read(gradient),
            Read(&moments.mean),
            Read(&line.factor),
            Read(&middle),
            Read(&slope),
            Size(elements),
            Size(width),
            Write(&dx),
        ];
        launch(&device, kernel("normed_gradient"), Grid::elements(elements)?, &arguments)?;
        Ok(vec![Some(dx), Some(dweight), Some(dbias)])
    };
    let y = attach("batch_norm", y, &[x, norm.weight, norm.bias], Box::new(backward))?;
    Ok((y, reported))
}
