//! The norms of gradients.
//!
//! Law: a norm is added up of the sums over the pieces of a cut, in the order of the pieces, so that it does not depend on
//! the number of slices.

use candle_core::{DType, Device, Result, Tensor};

use crate::kernels::backend::Backend;
use crate::kernels::cpu::squares;
use crate::kernels::cuda;

/// A gradient whose squares are summed, with the parameter that L2 adds to it.
pub(super) struct Summed<'a> {
    pub(super) gradient: &'a Tensor,
    pub(super) parameter: &'a Tensor,
    /// The strength of L2. With 0, the parameter is not read.
    pub(super) l2: f64,
}

/// The sums of the squares of `gradient + l2·parameter` over each `piece` elements, in f64, one gradient after the other.
/// The last piece of a gradient may be shorter.
pub(super) fn sums_of_squares<'a>(
    all: impl Iterator<Item = Summed<'a>>,
    piece: usize,
    backend: Backend,
) -> Result<Vec<f64>> {
    if backend == Backend::FusedCuda {
        return on_gpu(&all.collect::<Vec<_>>(), piece);
    }
    let mut sums = Vec::new();
    for summed in all {
        match backend {
            Backend::FusedCpu => {
                let Summed { gradient, parameter, l2 } = summed;
                sums.extend(squares::sums_of_squares(gradient, parameter, l2, piece)?);
            }
            Backend::Plain | Backend::FusedCuda => plain(&summed, piece, &mut sums)?,
        }
    }
    Ok(sums)
}

fn on_gpu(all: &[Summed], piece: usize) -> Result<Vec<f64>> {
    let gradients = all.iter().map(|summed| summed.gradient.contiguous()).collect::<Result<Vec<_>>>()?;
    let device = gradients.first().map_or(&Device::Cpu, |gradient| gradient.device());
    let pairs: Vec<_> = all
        .iter()
        .zip(&gradients)
        .map(|(summed, gradient)| cuda::adam::Pair { gradient, parameter: summed.parameter, l2: summed.l2 })
        .collect();
    cuda::adam::sums_of_squares(&pairs, piece, device)
}

fn plain(summed: &Summed, piece: usize, sums: &mut Vec<f64>) -> Result<()> {
    let Summed { gradient, parameter, l2 } = *summed;
    let sum = if l2 == 0.0 { gradient.clone() } else { (gradient + parameter.affine(l2, 0.0)?)? };
    let squares = sum.to_dtype(DType::F64)?.sqr()?.flatten_all()?;
    let count = squares.elem_count();
    let (pieces, rest) = (count / piece, count % piece);
    if pieces > 0 {
        sums.extend(
            squares.narrow(0, 0, pieces * piece)?.reshape((pieces, piece))?.sum(1)?.to_vec1::<f64>()?,
        );
    }
    if rest > 0 {
        sums.push(squares.narrow(0, pieces * piece, rest)?.sum_all()?.to_scalar::<f64>()?);
    }
    Ok(())
}
