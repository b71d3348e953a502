//! Sums and moments over the rows of a matrix, and batch norms made of them, on the GPU.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, Grid, Kernel, fresh, launch};

use Argument::{Double, Read, Size, Word, Write};

/// The rows of one part: `PART_ROWS` of source/columns.cu, and `GRADIENT_ROWS` of source/assign.cu.
const PART_ROWS: usize = 256;
const GRADIENT_ROWS: usize = 64;

const fn columns(name: &'static str) -> Kernel {
    Kernel { source: "columns", name }
}

const fn assign(name: &'static str) -> Kernel {
    Kernel { source: "assign", name }
}

/// Rows that count in the moments but are not there.
#[derive(Clone, Copy)]
pub(super) struct Padding<'a> {
    /// The constant of each column, [C]: what a padded row holds, or what folded columns lack.
    pub(super) offset: &'a Tensor,
    /// Whether the columns lack the constant. Then a padded row holds 0, and reported means have the constant added.
    pub(super) folded: bool,
    /// The number of padded rows.
    pub(super) rows: usize,
}

impl Padding<'_> {
    fn arguments(&self) -> [Argument<'_>; 3] {
        [Read(self.offset), Word(u32::from(self.folded)), Double(self.rows as f64)]
    }
}

/// The mean and biased variance of each column, [C] each.
pub(super) struct Moments {
    /// f64.
    pub(super) mean: Tensor,
    /// f64.
    pub(super) variance: Tensor,
    /// f32, with the constant that folded columns lack.
    pub(super) reported_mean: Tensor,
    /// f32.
    pub(super) reported_variance: Tensor,
}

/// The moments of the first `width` columns of `values` [N, stride], which is f32 and contiguous.
pub(super) fn moments(values: &Tensor, width: usize, padding: Padding) -> Result<Moments> {
    let (rows, stride) = values.dims2()?;
    let device = values.device();
    let parts = rows.div_ceil(PART_ROWS);
    let part = || fresh(&[parts, width], DType::F64, device);
    let (means, squares) = (part()?, part()?);
    let of_parts = [Read(values), Size(rows), Size(stride), Size(width), Write(&means), Write(&squares)];
    launch(device, columns("moments_of_parts"), Grid::columns(width, parts)?, &of_parts)?;
    let made = |dtype| fresh(&[width], dtype, device);
    let moments = Moments {
        mean: made(DType::F64)?,
        variance: made(DType::F64)?,
        reported_mean: made(DType::F32)?,
        reported_variance: made(DType::F32)?,
    };
    let mut joined = vec![Read(&means), Read(&squares), Size(rows), Size(width)];
    joined.extend(padding.arguments());
    joined.extend([
        Write(&moments.mean),
        Write(&moments.variance),
        Write(&moments.reported_mean),
        Write(&moments.reported_variance),
    ]);
    launch(device, columns("moments_joined"), Grid::elements(width)?, &joined)?;
    Ok(moments)
}

/// The sum of each column of `values` [N, C], which is f32 and contiguous: [C] in f64, and rounded to f32.
pub(super) fn sums(values: &Tensor) -> Result<(Tensor, Tensor)> {
    let (rows, width) = values.dims2()?;
    let device = values.device();
    let parts = rows.div_ceil(PART_ROWS);
    let of_parts = fresh(&[parts, width], DType::F64, device)?;
    let arguments = [Read(values), Size(rows), Size(width), Write(&of_parts)];
    launch(device, columns("sums_of_parts"), Grid::columns(width, parts)?, &arguments)?;
    let (sums, rounded) = (fresh(&[width], DType::F64, device)?, fresh(&[width], DType::F32, device)?);
    let arguments = [Read(&of_parts), Size(parts), Size(width), Write(&sums), Write(&rounded)];
    launch(device, columns("sums_joined"), Grid::elements(width)?, &arguments)?;
    Ok((sums, rounded))
}

/// Adds `row` [C] to each row of `values` [N, C], in place. Nobody else may hold the memory of `values`.
pub(super) fn add_row(values: &Tensor, row: &Tensor) -> Result<()> {
    let (elements, width) = (values.elem_count(), row.elem_count());
    let arguments = [Read(row), Size(elements), Size(width), Write(values)];
    launch(values.device(), columns("row_added"), Grid::elements(elements)?, &arguments)
}

/// A batch norm as a line of each column, [C] each.
pub(super) struct Line {
    /// f32.
    pub(super) factor: Tensor,
    /// f32.
    pub(super) shift: Tensor,
    /// 1 / sqrt(variance + ε), f64.
    pub(super) spread: Tensor,
}

/// The line of a batch norm with `weight` and `bias` [C].
pub(super) fn line(moments: &Moments, (weight, bias): (&Tensor, &Tensor), epsilon: f64) -> Result<Line> {
    let (device, width) = (weight.device(), weight.elem_count());
    let made = |dtype| fresh(&[width], dtype, device);
    let line = Line { factor: made(DType::F32)?, shift: made(DType::F32)?, spread: made(DType::F64)? };
    let arguments = [
        Read(&moments.mean),
        Read(&moments.variance),
        Read(weight),
        Read(bias),
        Double(epsilon),
        Size(width),
        Write(&line.factor),
        Write(&line.shift),
        Write(&line.spread),
    ];
    launch(device, assign("line_of_norm"), Grid::elements(width)?, &arguments)?;
    Ok(line)
}

/// Factor and shift of a batch norm with running statistics, f32 [C] each. `padding` has no rows.
pub(super) fn running_line(
    (mean, variance): (&Tensor, &Tensor),
    (weight, bias): (&Tensor, &Tensor),
    epsilon: f64,
    padding: Padding,
) -> Result<(Tensor, Tensor)> {
    let (device, width) = (weight.device(), weight.elem_count());
    let (factor, shift) = (fresh(&[width], DType::F32, device)?, fresh(&[width], DType::F32, device)?);
    let arguments = [
        Read(mean),
        Read(variance),
        Read(weight),
        Read(bias),
        Double(epsilon),
        Read(padding.offset),
        Word(u32::from(padding.folded)),
        Size(width),
        Write(&factor),
        Write(&shift),
    ];
    launch(device, assign("line_of_running_norm"), Grid::elements(width)?, &arguments)?;
    Ok((factor, shift))
}

/// The gradients of a batch norm's parameters, and of the constant that padded rows hold, f32 [C] each.
pub(super) struct NormGradient {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    /// For all padded rows together.
    pub(super) padding: Tensor,
}

/// Turns the gradients of the normed columns into those of the columns, in place: `gradient` [N, stride] has them in its
/// first `width` columns, as `values` has the columns.
pub(super) fn norm_gradient(
    values: &Tensor,
    gradient: &Tensor,
    (moments, line, weight): (&Moments, &Line, &Tensor),
    padding: Padding,
) -> Result<NormGradient> {
    let (rows, stride) = values.dims2()?;
    let (device, width) = (values.device(), weight.elem_count());
    let parts = rows.div_ceil(GRADIENT_ROWS);
    let part = || fresh(&[parts, width], DType::F32, device);
    let (sums, products) = (part()?, part()?);
    let of_parts = [
        Read(values),
        Read(gradient),
        Read(&moments.mean),
        Size(rows),
        Size(stride),
        Size(width),
        Write(&sums),
        Write(&products),
    ];
    launch(device, assign("norm_sums_of_parts"), Grid::columns(width, parts)?, &of_parts)?;
    let made = || fresh(&[width], DType::F32, device);
    let (middle, slope) = (made()?, made()?);
    let norm = NormGradient { weight: made()?, bias: made()?, padding: made()? };
    let mut joined = vec![
        Read(&sums),
        Read(&products),
        Read(&moments.mean),
        Read(&line.spread),
        Read(weight),
        Size(rows),
        Size(width),
    ];
    joined.extend(padding.arguments());
    joined.extend([
        Write(&norm.weight),
        Write(&norm.bias),
        Write(&middle),
        Write(&slope),
        Write(&norm.padding),
    ]);
    launch(device, assign("norm_sums_joined"), Grid::elements(width)?, &joined)?;
    let elements = rows * width;
    let in_place = [
        Read(values),
        Read(&moments.mean),
        Read(&line.factor),
        Read(&middle),
        Read(&slope),
        Size(elements),
        Size(stride),
        Size(width),
        Write(gradient),
    ];
    launch(device, assign("norm_gradient"), Grid::elements(elements)?, &in_place)?;
    Ok(norm)
}
