//! The right operand of products: weights that are rounded to whole numbers, output by output.

use rayon::prelude::*;

use super::number::Bytes;
use crate::kernels::tiles::Right;
use crate::kernels::tiles::tile::Tile;
use crate::kernels::wide::widest;

/// The most inputs of an output. With them, no sum of products of a byte 0 to 255 with one of −128 to 127 leaves 32 bits.
pub(crate) const MAX_INPUTS: usize = i32::MAX as usize / (255 * 128);

/// How many bytes make the whole number of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planes {
    /// One: whole numbers from −127 to 127.
    One,
    /// Two: whole numbers from −32,639 to 32,639, which are 256 times a high byte and a low byte, both with a sign.
    Two,
}

impl Planes {
    /// The largest whole number. Its high and its low byte are 127.
    fn largest(self) -> f64 {
        match self {
            Self::One => 127.0,
            Self::Two => f64::from(127 * 256 + 127),
        }
    }
}

/// A matrix of whole numbers with a scale for each output: weight (o, i) is `numbers[o · inputs + i] · scales[o]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WholeWeights {
    pub(crate) planes: Planes,
    /// [out, in].
    pub(crate) numbers: Vec<i16>,
    /// [out].
    pub(crate) scales: Vec<f32>,
}

impl WholeWeights {
    /// Rounds a matrix [out, in] that exists output by output: `fill` writes the weights of one output into its second
    /// argument.
    ///
    /// The largest weight of an output becomes the largest whole number, and every weight the nearest one, or the even one
    /// of two. An output that has a weight which is not finite gets NaN as its scale.
    pub(crate) fn round(
        (outputs, inputs): (usize, usize),
        planes: Planes,
        fill: impl Fn(usize, &mut [f64]) + Sync,
    ) -> Self {
        let mut numbers = vec![0; outputs * inputs];
        let mut scales = vec![0.0; outputs];
        let rows = numbers.par_chunks_mut(inputs.max(1)).zip(&mut scales).enumerate();
        rows.for_each_init(
            || vec![0.0; inputs],
            |row, (output, (numbers, scale))| {
                fill(output, row);
                *scale = widest(
                    #[inline(always)]
                    || round_row(row, planes.largest(), numbers),
                );
            },
        );
        Self { planes, numbers, scales }
    }

    /// The matrix of these bytes, which [`WholeWeights::bytes`] made. Bytes of a number below −32,768 are none of those, and
    /// count as this number.
    pub(crate) fn of_bytes(high: &[i8], low: Option<&[i8]>, scales: Vec<f32>) -> Self {
        let Some(low) = low else {
            let numbers = high.par_iter().map(|byte| i16::from(*byte)).collect();
            return Self { planes: Planes::One, numbers, scales };
        };
        let join = |(high, low): (&i8, &i8)| (i16::from(*high) * 256).saturating_add(i16::from(*low));
        Self { planes: Planes::Two, numbers: high.par_iter().zip(low).map(join).collect(), scales }
    }

    /// The number of inputs.
    pub(crate) fn inputs(&self) -> usize {
        self.numbers.len() / self.scales.len().max(1)
    }

    /// The bytes of the numbers, [out, in] for each plane. The high ones come first.
    pub(crate) fn bytes(&self) -> Vec<Vec<i8>> {
        let numbers = self.numbers.par_iter();
        match self.planes {
            Planes::One => vec![numbers.map(|number| only_byte(*number)).collect()],
            Planes::Two => {
                let low = numbers.clone().map(|number| low_byte(*number)).collect();
                vec![numbers.map(|number| high_byte(*number)).collect(), low]
            }
        }
    }
}

#[inline(always)]
fn only_byte(number: i16) -> i8 {
    number as i8
}

#[inline(always)]
fn high_byte(number: i16) -> i8 {
    // A number above 32,639 has no high byte, and rounding makes none.
    (number.saturating_add(128) >> 8) as i8
}

#[inline(always)]
fn low_byte(number: i16) -> i8 {
    // What the high byte lacks lies between −128 and 127.
    number as i8
}

/// Writes the whole numbers of a row, and returns its scale.
#[inline(always)]
fn round_row(row: &[f64], most: f64, numbers: &mut [i16]) -> f32 {
    let largest = row.iter().fold(0.0f64, |top, weight| {
        // A comparison with a NaN fails, so a NaN takes the place of the largest and stays there.
        if weight.abs() <= top || top.is_nan() { top } else { weight.abs() }
    });
    let scale = (largest / most) as f32;
    if !scale.is_finite() {
        return f32::NAN;
    }
    // Where even the largest weight is too small for a scale, all of them count as zero.
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / f64::from(scale) };
    for (weight, number) in row.iter().zip(numbers) {
        *number = (weight * inverse).round_ties_even().clamp(-most, most) as i16;
    }
    scale
}

/// Packs one byte of each number.
fn pack_plane(weights: &WholeWeights, byte: impl Fn(i16) -> i8 + Sync) -> Right<Bytes> {
    let (inputs, outputs) = (weights.inputs(), weights.scales.len());
    Right::pack_columns(inputs, outputs, |output, column: &mut [i8]| {
        let row = &weights.numbers[output * inputs..(output + 1) * inputs];
        column.iter_mut().zip(row).for_each(|(target, number)| *target = byte(*number));
    })
}

/// [`WholeWeights`], packed. They serve any number of products.
pub(crate) struct PackedWeights {
    planes: Vec<Right<Bytes>>,
    /// [out].
    pub(super) scales: Vec<f32>,
    /// The sum of the whole numbers of each output, [out].
    pub(super) totals: Vec<f64>,
}

impl PackedWeights {
    /// Packs weights.
    ///
    /// # Panics
    /// If an output has more than [`MAX_INPUTS`].
    pub(crate) fn pack(weights: &WholeWeights) -> Self {
        let (inputs, outputs) = (weights.inputs(), weights.scales.len());
        assert!(inputs <= MAX_INPUTS, "sums of {inputs} products in 32 bits");
        let row = |output: usize| &weights.numbers[output * inputs..(output + 1) * inputs];
        let planes = match weights.planes {
            Planes::One => vec![pack_plane(weights, only_byte)],
            Planes::Two => vec![pack_plane(weights, high_byte), pack_plane(weights, low_byte)],
        };
        let total = |output: usize| row(output).iter().map(|number| f64::from(*number)).sum();
        let totals = (0..outputs).into_par_iter().map(total).collect();
        Self { planes, scales: weights.scales.clone(), totals }
    }

    /// The number of inputs.
    pub(crate) fn inputs(&self) -> usize {
        self.planes[0].rows()
    }

    /// The number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.scales.len()
    }

    /// The number of planes.
    pub(super) fn planes(&self) -> usize {
        self.planes.len()
    }

    /// The tiles `from..to` of a panel of one plane.
    pub(super) fn panel(&self, plane: usize, panel: usize, from: usize, to: usize) -> &[Tile] {
        self.planes[plane].panel(panel, from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(row: &[f64], planes: Planes) -> WholeWeights {
        WholeWeights::round((1, row.len()), planes, |_, target| target.copy_from_slice(row))
    }

    #[test]
    fn a_weight_moves_by_half_a_step_at_most_and_its_bytes_make_its_number() {
        let row: Vec<f64> = (0..3000).map(|i| f64::from(i * 7919 % 5999 - 2999) / 1234.5).collect();
        for (planes, largest) in [(Planes::One, 127.0), (Planes::Two, 32639.0)] {
            let made = round(&row, planes);
            let scale = f64::from(made.scales[0]);
            let top = row.iter().fold(0.0f64, |top, weight| top.max(weight.abs()));
            assert!((scale * largest - top).abs() < 1e-6 * top);
            let bytes = made.bytes();
            for (index, weight) in row.iter().enumerate() {
                let found = f64::from(made.numbers[index]);
                assert!((found * scale - weight).abs() <= 0.5001 * scale, "{weight}");
                let joined = bytes.iter().fold(0, |sum, plane| 256 * sum + i32::from(plane[index]));
                assert_eq!(joined, i32::from(made.numbers[index]));
            }
            let low = bytes.get(1).map(|low| &low[..]);
            assert_eq!(WholeWeights::of_bytes(&bytes[0], low, made.scales.clone()), made);
        }
    }

    #[test]
    fn every_whole_number_of_two_planes_is_its_bytes() {
        for number in -32_639..=32_639i16 {
            assert_eq!(256 * i32::from(high_byte(number)) + i32::from(low_byte(number)), i32::from(number));
        }
    }

    #[test]
    fn weights_without_a_scale_are_zero_or_nan() {
        for planes in [Planes::One, Planes::Two] {
            let made = round(&[0.0, -0.0, 1e-60], planes);
            assert_eq!((made.scales[0], &made.numbers[..]), (0.0, &[0, 0, 0][..]));
            for bad in [f64::NAN, f64::INFINITY, 1e300] {
                assert!(round(&[1.0, bad, 2.0], planes).scales[0].is_nan());
                assert!(round(&[bad, 3.0], planes).scales[0].is_nan());
            }
        }
    }
}
