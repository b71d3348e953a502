//! What the optimizer does with many tensors in one launch: an update of Adam, sums of squares, and the check whether
//! numbers are finite.

use candle_core::{DType, Device, Result, Tensor};

use super::launch::{Argument, Grid, Kernel, fresh, launch};
use crate::kernels::adam::{Coefficients, New, Old};

use Argument::{Read, Reads, Size, Word, Write, Writes};

/// The elements that one block works on: `BLOCK_ELEMENTS` of source/adam.cu.
const BLOCK_ELEMENTS: usize = 4096;

const fn kernel(name: &'static str) -> Kernel {
    Kernel { source: "adam", name }
}

/// The lengths of several tensors and the first block of each, as the kernels take them.
struct Blocks {
    lengths: Tensor,
    first: Tensor,
    count: usize,
}

impl Blocks {
    /// Blocks of `size` elements for tensors of these lengths, on `device`.
    fn new(lengths: impl Iterator<Item = usize>, size: usize, device: &Device) -> Result<Self> {
        let (mut sizes, mut first, mut count) = (Vec::new(), vec![0], 0);
        for length in lengths {
            sizes.push(length as i64);
            count += length.div_ceil(size);
            first.push(count as i64);
        }
        let tensors = sizes.len();
        Ok(Self {
            lengths: Tensor::from_vec(sizes, tensors, device)?,
            first: Tensor::from_vec(first, tensors + 1, device)?,
            count,
        })
    }
}

/// A word on the card that a kernel sets where it finds a number that is not finite.
#[must_use]
pub(crate) struct Verdict(Tensor);

impl Verdict {
    fn new(device: &Device) -> Result<Self> {
        Ok(Self(Tensor::zeros(1, DType::U32, device)?))
    }

    /// Whether all numbers were finite. Waits for the card.
    pub(crate) fn is_finite(&self) -> Result<bool> {
        Ok(self.0.to_vec1::<u32>()? == [0])
    }
}

/// Refuses tensors that the tables of a kernel cannot hold.
fn check<'a>(tensors: impl IntoIterator<Item = &'a Tensor>, elements: usize) -> Result<()> {
    for tensor in tensors {
        if tensor.dtype() != DType::F32 || tensor.elem_count() != elements || !tensor.is_contiguous() {
            candle_core::bail!(
                "the optimizer's kernels of the GPU take contiguous F32 tensors of one size, not {:?} {:?} for {elements} \
                 elements",
                tensor.dtype(),
                tensor.dims()
            );
        }
    }
    Ok(())
}

/// Writes the updates of several parameters on one card into `news`, which nobody else reads, in one launch. Returns
/// whether every number of the new parameters and second moments is finite.
///
/// # Errors
/// The tensors of an update do not have one size, are not f32 or not contiguous, or the card fails.
pub(crate) fn update(steps: &[(Coefficients, Old)], news: &[New], device: &Device) -> Result<Verdict> {
    let verdict = Verdict::new(device)?;
    let (mut olds, mut targets, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for ((coefficients, old), new) in steps.iter().zip(news) {
        let own = [old.parameter, old.first, old.second, old.gradient];
        let next = [new.parameter, new.first, new.second];
        check(own.into_iter().chain(next), old.parameter.elem_count())?;
        olds.extend(own);
        targets.extend(next);
        numbers.extend(numbers_of(coefficients));
    }
    if steps.len() != news.len() {
        candle_core::bail!("{} updates with the memory of {}", steps.len(), news.len());
    }
    if steps.is_empty() {
        return Ok(verdict);
    }
    let lengths = steps.iter().map(|(_, old)| old.parameter.elem_count());
    let blocks = Blocks::new(lengths, BLOCK_ELEMENTS, device)?;
    let count = numbers.len();
    let numbers = Tensor::from_vec(numbers, count, device)?;
    let arguments = [
        Reads(&olds),
        Writes(&targets),
        Read(&blocks.lengths),
        Read(&blocks.first),
        Read(&numbers),
        Word(steps.len() as u32),
        Write(&verdict.0),
    ];
    launch(device, kernel("adam"), Grid::blocks(blocks.count)?, &arguments)?;
    Ok(verdict)
}

/// The numbers of an update in the order of the kernel, rounded as the CPU's kernel rounds them.
fn numbers_of(coefficients: &Coefficients) -> [f32; 9] {
    let Coefficients { beta1, beta2, rate, second_factor, epsilon, gradient_factor, parameter_factor } =
        *coefficients;
    let numbers = [
        beta1,
        1.0 - beta1,
        beta2,
        1.0 - beta2,
        rate,
        second_factor,
        epsilon,
        gradient_factor,
        parameter_factor,
    ];
    numbers.map(|number| number as f32)
}

/// Whether every number of several f32 tensors on one card is finite, in one launch.
///
/// # Errors
/// A tensor is not f32 or not contiguous, or the card fails.
pub(crate) fn all_finite(tensors: &[&Tensor], device: &Device) -> Result<Verdict> {
    let verdict = Verdict::new(device)?;
    for tensor in tensors {
        check([*tensor], tensor.elem_count())?;
    }
    if tensors.is_empty() {
        return Ok(verdict);
    }
    let blocks = Blocks::new(tensors.iter().map(|tensor| tensor.elem_count()), BLOCK_ELEMENTS, device)?;
    let arguments = [
        Reads(tensors),
        Read(&blocks.lengths),
        Read(&blocks.first),
        Word(tensors.len() as u32),
        Write(&verdict.0),
    ];
    launch(device, kernel("all_finite"), Grid::blocks(blocks.count)?, &arguments)?;
    Ok(verdict)
}

/// A gradient whose squares are summed, with the parameter that L2 adds to it.
pub(crate) struct Pair<'a> {
    /// The gradient.
    pub(crate) gradient: &'a Tensor,
    /// The parameter, of the same size.
    pub(crate) parameter: &'a Tensor,
    /// The strength of L2.
    pub(crate) l2: f64,
}

/// The sums of the squares of `gradient + l2·parameter` over each `piece` elements of each pair, in f64, one pair after
/// the other. The last piece of a pair may be shorter. Waits for the card, once.
///
/// # Errors
/// A tensor is not f32 or not contiguous, or the card fails.
pub(crate) fn sums_of_squares(pairs: &[Pair], piece: usize, device: &Device) -> Result<Vec<f64>> {
    for pair in pairs {
        check([pair.gradient, pair.parameter], pair.gradient.elem_count())?;
    }
    let blocks = Blocks::new(pairs.iter().map(|pair| pair.gradient.elem_count()), piece, device)?;
    if blocks.count == 0 {
        return Ok(Vec::new());
    }
    let table: Vec<&Tensor> = pairs.iter().flat_map(|pair| [pair.gradient, pair.parameter]).collect();
    let l2s: Vec<f32> = pairs.iter().map(|pair| pair.l2 as f32).collect();
    let l2s = Tensor::from_vec(l2s, pairs.len(), device)?;
    let sums = fresh(&[blocks.count], DType::F64, device)?;
    let arguments = [
        Reads(&table),
        Read(&l2s),
        Read(&blocks.lengths),
        Read(&blocks.first),
        Size(piece),
        Word(pairs.len() as u32),
        Write(&sums),
    ];
    launch(device, kernel("squares"), Grid::blocks(blocks.count)?, &arguments)?;
    sums.to_vec1::<f64>()
}
