//! Affine maps with bf16 weights that are worked out once and serve many batches.

use rayon::prelude::*;

use super::columns::add_row;
use crate::kernels::bf16::{Matrix, Number, Right, product};

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

/// `y = after(W · before(x))`, where the lines on both sides are part of the weights.
pub(crate) struct Affine {
    /// [in, out].
    matrix: Right,
    /// [out].
    constants: Vec<f32>,
}

impl Affine {
    /// The map of a `weight` [out, in] between lines for its inputs and for its outputs. They are joined in f64, and
    /// each joined weight is rounded once to f32 and once to bf16.
    ///
    /// # Panics
    /// If the sizes do not fit each other.
    pub(crate) fn new(weight: &[f32], before: &Lines, after: &Lines) -> Self {
        let (inputs, outputs) = (before.scale.len(), after.scale.len());
        assert_eq!(weight.len(), inputs * outputs, "a weight for each input and output");
        let row = |output: usize| &weight[output * inputs..(output + 1) * inputs];
        let matrix = Right::pack_columns(inputs, outputs, |output, column| {
            for ((target, weight), scale) in column.iter_mut().zip(row(output)).zip(&before.scale) {
                *target = (f64::from(*weight) * scale * after.scale[output]) as f32;
            }
        });
        let constant = |output: usize| {
            let products =
                row(output).iter().zip(&before.shift).map(|(weight, shift)| f64::from(*weight) * shift);
            (products.sum::<f64>() * after.scale[output] + after.shift[output]) as f32
        };
        Self { matrix, constants: (0..outputs).into_par_iter().map(constant).collect() }
    }

    /// The outputs [rows, out] of inputs `x` [rows, in].
    pub(crate) fn of<T: Number>(&self, x: Matrix<T>) -> Vec<f32> {
        let mut y = product(x, &self.matrix);
        add_row(&mut y, &self.constants);
        y
    }

    /// The number of outputs.
    pub(crate) fn outputs(&self) -> usize {
        self.constants.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_both_sides_are_part_of_the_map() {
        let (rows, inputs, outputs) = (5, 40, 33);
        let number = |i: usize| ((i * 37) % 17) as f64 / 8.0 - 1.0;
        let weight: Vec<f32> = (0..inputs * outputs).map(|i| number(i) as f32).collect();
        let lines = |count: usize, salt: usize| Lines {
            scale: (0..count).map(|i| number(i + salt) + 2.0).collect(),
            shift: (0..count).map(|i| number(3 * i + salt)).collect(),
        };
        let (before, after) = (lines(inputs, 5), lines(outputs, 11));
        let x: Vec<f32> = (0..rows * inputs).map(|i| number(5 * i) as f32).collect();
        let found = Affine::new(&weight, &before, &after).of(Matrix::of_rows(&x, rows, inputs));
        for row in 0..rows {
            for output in 0..outputs {
                let terms = (0..inputs).map(|i| {
                    let x = f64::from(x[row * inputs + i]) * before.scale[i] + before.shift[i];
                    f64::from(weight[output * inputs + i]) * x
                });
                let exact = terms.clone().sum::<f64>() * after.scale[output] + after.shift[output];
                let size = terms.map(f64::abs).sum::<f64>() * after.scale[output].abs() + 1.0;
                let found = f64::from(found[row * outputs + output]);
                assert!((found - exact).abs() < size / 256.0, "{row} {output}: {found} {exact}");
            }
        }
    }
}
