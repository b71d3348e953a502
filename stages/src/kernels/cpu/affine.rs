//! Affine maps with narrow weights that are worked out once and serve many batches.

use rayon::prelude::*;

use super::columns::add_row;
use crate::kernels::bf16::{self, Bf16};
use crate::kernels::int8::{self, Left, PackedWeights, Planes, WholeWeights};
use crate::kernels::tiles::{Matrix, Right};

/// A line for each column of a matrix: `y = scale · x + shift`.
#[derive(Clone)]
pub(crate) struct Lines {
    /// One factor for each column.
    pub(crate) scale: Vec<f64>,
    /// One summand for each column.
    pub(crate) shift: Vec<f64>,
}

impl Lines {
    /// The lines that change nothing, for `count` columns.
    pub(crate) fn identity(count: usize) -> Self {
        Self { scale: vec![1.0; count], shift: vec![0.0; count] }
    }

    /// The lines that add `shift`.
    pub(crate) fn shift(shift: Vec<f64>) -> Self {
        Self { scale: vec![1.0; shift.len()], shift }
    }
}

/// `y = after(W · before(x))` for a weight W [out, in].
pub(crate) struct Map<'a> {
    /// [out, in].
    pub(crate) weight: &'a [f32],
    /// [in]; `None` for lines that change nothing.
    pub(crate) before: Option<&'a Lines>,
    /// [out].
    pub(crate) after: &'a Lines,
    /// What x is made of.
    pub(crate) input: Input,
}

/// What the inputs of a map are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Bytes, each less 128.
    Codes,
    /// Any numbers.
    Numbers,
}

impl Map<'_> {
    /// The number of inputs.
    fn inputs(&self) -> usize {
        self.weight.len() / self.after.scale.len().max(1)
    }

    /// The weights of one output.
    fn row(&self, output: usize) -> &[f32] {
        &self.weight[output * self.inputs()..(output + 1) * self.inputs()]
    }

    /// Writes the weights of one output with the factors of both sides into `target`.
    fn join<T>(&self, output: usize, target: &mut [T], convert: impl Fn(f64) -> T) {
        let after = self.after.scale[output];
        let row = target.iter_mut().zip(self.row(output));
        match self.before {
            Some(before) => {
                for ((target, weight), scale) in row.zip(&before.scale) {
                    *target = convert(f64::from(*weight) * scale * after);
                }
            }
            None => row.for_each(|(target, weight)| *target = convert(f64::from(*weight) * after)),
        }
    }

    /// `after(W · shift)` for the shift of the inputs.
    fn constants(&self) -> Vec<f32> {
        let constant = |output: usize| {
            let products = self.before.map_or(0.0, |before| {
                self.row(output)
                    .iter()
                    .zip(&before.shift)
                    .map(|(weight, shift)| f64::from(*weight) * shift)
                    .sum()
            });
            (products * self.after.scale[output] + self.after.shift[output]) as f32
        };
        (0..self.after.scale.len()).into_par_iter().map(constant).collect()
    }
}

/// A [`Map`] that is worked out once and serves many batches.
pub(crate) enum Affine {
    /// With weights of bf16.
    Bf16 {
        /// [in, out], with the factors of both sides.
        matrix: Right<Bf16>,
        /// [out].
        constants: Vec<f32>,
    },
    /// With weights of whole numbers.
    Whole {
        /// What the inputs are.
        input: Input,
        /// [in], unless the lines are part of the weights.
        before: Option<FloatLines>,
        /// With the factors of the outputs, and those of inputs that are codes.
        weights: PackedWeights,
        /// [out].
        constants: Vec<f32>,
    },
}

impl Affine {
    /// A map with weights of bf16. The lines on both sides are joined with the weights in f64, and each joined weight is
    /// rounded once to f32 and once to bf16.
    ///
    /// # Panics
    /// If the sizes do not fit each other.
    pub(crate) fn bf16(map: &Map) -> Self {
        let (inputs, outputs) = (map.inputs(), map.after.scale.len());
        assert_eq!(map.weight.len(), inputs * outputs, "a weight for each input and output");
        let matrix = Right::pack_columns(inputs, outputs, |output, column: &mut [f32]| {
            map.join(output, column, |weight| weight as f32);
        });
        Self::Bf16 { matrix, constants: map.constants() }
    }

    /// A map with weights of whole numbers.
    pub(crate) fn whole(map: &WholeMap) -> Self {
        Self::Whole {
            input: map.input,
            before: map.before.clone(),
            weights: PackedWeights::pack(&map.weights),
            constants: map.constants.clone(),
        }
    }

    /// The outputs [rows, out] of codes [rows, in].
    pub(crate) fn of_codes(&self, codes: Matrix<u8>) -> Vec<f32> {
        match self {
            Self::Bf16 { matrix, constants } => {
                let mut y = bf16::product(codes, matrix);
                add_row(&mut y, constants);
                y
            }
            Self::Whole { input, weights, constants, .. } => {
                debug_assert_eq!(*input, Input::Codes, "the lines of numbers are not part of the weights");
                int8::product(&Left::of_codes(codes), weights, constants)
            }
        }
    }

    /// The outputs [rows, out] of numbers [rows, in].
    pub(crate) fn of_numbers(&self, numbers: &[f32], rows: usize) -> Vec<f32> {
        match self {
            Self::Bf16 { matrix, constants } => {
                let mut y = bf16::product(Matrix::of_rows(numbers, rows, matrix.rows()), matrix);
                add_row(&mut y, constants);
                y
            }
            Self::Whole { before, weights, constants, .. } => {
                let inputs = weights.inputs();
                let left = match before {
                    Some(lines) => Left::of_numbers(&lines.of(numbers), rows, inputs),
                    None => Left::of_numbers(numbers, rows, inputs),
                };
                int8::product(&left, weights, constants)
            }
        }
    }

    /// The number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Self::Bf16 { constants, .. } | Self::Whole { constants, .. } => constants.len(),
        }
    }
}

/// [`Lines`] of f32.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FloatLines {
    /// One factor for each column.
    pub(crate) scale: Vec<f32>,
    /// One summand for each column.
    pub(crate) shift: Vec<f32>,
}

impl FloatLines {
    /// The lines, rounded to f32.
    fn rounded(lines: &Lines) -> Self {
        let round = |values: &[f64]| values.iter().map(|value| *value as f32).collect();
        Self { scale: round(&lines.scale), shift: round(&lines.shift) }
    }

    /// The values of the lines at `numbers`, row by row.
    fn of(&self, numbers: &[f32]) -> Vec<f32> {
        let mut made = numbers.to_vec();
        made.par_chunks_mut(self.scale.len().max(1)).for_each(|row| {
            for ((number, scale), shift) in row.iter_mut().zip(&self.scale).zip(&self.shift) {
                *number = *number * scale + shift;
            }
        });
        made
    }
}

/// A [`Map`] with weights of whole numbers, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WholeMap {
    /// What the inputs are.
    pub(crate) input: Input,
    /// [in], for numbers. The lines of codes are part of the weights.
    pub(crate) before: Option<FloatLines>,
    /// The weights with the factors of the outputs, and those of inputs that are codes.
    pub(crate) weights: WholeWeights,
    /// [out].
    pub(crate) constants: Vec<f32>,
}

impl WholeMap {
    /// Rounds a map. All factors are joined with the weights in f64 before.
    ///
    /// The factors of inputs that are numbers stay beside the weights: they differ by orders of magnitude between the
    /// elements of a descriptor, and the few largest products would set the scale of all.
    ///
    /// # Panics
    /// If the sizes do not fit each other.
    pub(crate) fn round(map: &Map, planes: Planes) -> Self {
        let size = (map.after.scale.len(), map.inputs());
        assert_eq!(map.weight.len(), size.0 * size.1, "a weight for each input and output");
        let of_outputs = Map { before: None, ..*map };
        let (map, before) = match map.input {
            Input::Codes => (map, None),
            Input::Numbers => (&of_outputs, map.before.map(FloatLines::rounded)),
        };
        let weights = WholeWeights::round(size, planes, |output, row| map.join(output, row, |weight| weight));
        Self { input: map.input, before, weights, constants: map.constants() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The joined weights and lines are exact up to a rounding of this share of each product.
    fn check(input: Input, with_lines: bool, tolerance: f64, affine: impl Fn(&Map) -> Affine) {
        let (rows, inputs, outputs) = (5, 40, 33);
        let number = |i: usize| ((i * 37) % 17) as f64 / 8.0 - 1.0;
        let weight: Vec<f32> = (0..inputs * outputs).map(|i| number(i) as f32).collect();
        let lines = |count: usize, salt: usize| Lines {
            scale: (0..count).map(|i| number(i + salt) + 2.0).collect(),
            shift: (0..count).map(|i| number(3 * i + salt)).collect(),
        };
        let (given, after) = (lines(inputs, 5), lines(outputs, 11));
        let before = if with_lines { given } else { Lines::identity(inputs) };
        let map = Map { weight: &weight, before: with_lines.then_some(&before), after: &after, input };
        let affine = affine(&map);
        let codes: Vec<u8> = (0..rows * inputs).map(|i| (i * 73 % 256) as u8).collect();
        let numbers: Vec<f32> = (0..rows * inputs).map(|i| number(5 * i) as f32).collect();
        let (x, found): (Vec<f64>, _) = match input {
            Input::Codes => {
                let x = codes.iter().map(|code| f64::from(*code) - 128.0).collect();
                (x, affine.of_codes(Matrix::of_rows(&codes, rows, inputs)))
            }
            Input::Numbers => {
                (numbers.iter().map(|x| f64::from(*x)).collect(), affine.of_numbers(&numbers, rows))
            }
        };
        for row in 0..rows {
            for output in 0..outputs {
                let terms = (0..inputs).map(|i| {
                    let x = x[row * inputs + i] * before.scale[i] + before.shift[i];
                    f64::from(weight[output * inputs + i]) * x
                });
                let exact = terms.clone().sum::<f64>() * after.scale[output] + after.shift[output];
                let size = terms.map(f64::abs).sum::<f64>() * after.scale[output].abs() + 1.0;
                let found = f64::from(found[row * outputs + output]);
                assert!(
                    (found - exact).abs() < size * tolerance,
                    "{input:?} {row} {output}: {found} {exact}"
                );
            }
        }
    }

    #[test]
    fn the_lines_of_both_sides_are_part_of_the_map() {
        for input in [Input::Codes, Input::Numbers] {
            for with_lines in [true, false] {
                check(input, with_lines, 1.0 / 256.0, Affine::bf16);
                // A whole number moves a weight by half a step of the largest one at most.
                check(input, with_lines, 1.0 / 127.0, |map| {
                    Affine::whole(&WholeMap::round(map, Planes::One))
                });
                check(input, with_lines, 1.0 / 8192.0, |map| {
                    Affine::whole(&WholeMap::round(map, Planes::Two))
                });
            }
        }
    }
}
