//! Products of matrices, from products of tiles.
//!
//! With planes of 16-bit numbers, the sums of all pairs of planes are joined as digits are: a high byte counts 256 times.

use rayon::prelude::*;

use super::left::Left;
use super::number::Bytes;
use super::plain::Sums;
use super::unit::Unit;
use super::weights::PackedWeights;
use crate::kernels::tiles::pack::tiles_of;
use crate::kernels::tiles::tile::{BLOCK, SIDE};
use crate::kernels::wide::widest;

/// The tiles along the sums that are multiplied at a time: with them, the panels of a block stay in the first cache.
const CHUNK: usize = 16;

/// The largest number of rows or columns of one band. With it, a chunk of the band and its sums stay in the second cache.
const BAND: usize = 256;

/// Up to this number of rows, the columns are divided among the threads, so that each weight is read once.
const FEW_ROWS: usize = 128;

/// `left · weights + constants` [rows of left, outputs], row by row. The constants are added to each row.
///
/// With sum the exact sum of the products of the whole numbers, a result is
/// `(sum − zero · total) · (scale of the row · scale of the output) + constant` in f64, rounded once to f32.
///
/// # Panics
/// If the sizes do not fit each other.
pub(crate) fn product(left: &Left, weights: &PackedWeights, constants: &[f32]) -> Vec<f32> {
    product_by(Unit::best(), left, weights, constants)
}

/// [`product`] by one unit.
fn product_by(unit: Unit, left: &Left, weights: &PackedWeights, constants: &[f32]) -> Vec<f32> {
    assert_eq!(
        left.columns(),
        weights.inputs(),
        "the columns of the left operand and the inputs of the weights"
    );
    assert_eq!(constants.len(), weights.outputs(), "a constant for each output");
    if left.rows() == 0 || weights.outputs() == 0 {
        return Vec::new();
    }
    let operands = Operands { unit, left, weights, constants };
    if left.rows() <= FEW_ROWS { operands.by_columns() } else { operands.by_rows() }
}

/// What a product is made of.
struct Operands<'a> {
    unit: Unit,
    left: &'a Left,
    weights: &'a PackedWeights,
    constants: &'a [f32],
}

/// A part of the results: rows and columns, each from a multiple of 32.
struct Part {
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
}

impl Operands<'_> {
    fn by_rows(&self) -> Vec<f32> {
        let (rows, columns) = (self.left.rows(), self.weights.outputs());
        let mut results = vec![0.0; rows * columns];
        let share = rows.div_ceil(rayon::current_num_threads());
        let band = share.next_multiple_of(BLOCK).clamp(BLOCK, BAND);
        let bands = results.par_chunks_mut(band * columns).enumerate();
        bands.for_each_init(Vec::new, |sums, (index, results)| {
            let first = index * band;
            let part = Part { rows: first..rows.min(first + band), columns: 0..columns };
            self.part(&part, sums, results);
        });
        results
    }

    fn by_columns(&self) -> Vec<f32> {
        let (rows, columns) = (self.left.rows(), self.weights.outputs());
        let share = columns.div_ceil(4 * rayon::current_num_threads());
        let band = share.next_multiple_of(BLOCK).clamp(BLOCK, BAND);
        let bands: Vec<usize> = (0..columns).step_by(band).collect();
        let computed: Vec<Vec<f32>> = bands
            .par_iter()
            .map_init(Vec::new, |sums, first| {
                let part = Part { rows: 0..rows, columns: *first..columns.min(first + band) };
                let mut results = vec![0.0; rows * part.columns.len()];
                self.part(&part, sums, &mut results);
                results
            })
            .collect();
        let mut results = vec![0.0; rows * columns];
        for (first, part) in bands.into_iter().zip(&computed) {
            let width = band.min(columns - first);
            for (target, part) in results.chunks_exact_mut(columns).zip(part.chunks_exact(width)) {
                target[first..first + width].copy_from_slice(part);
            }
        }
        results
    }

    /// Computes a part of the results, whose rows lie one after another. `sums` is memory.
    fn part(&self, part: &Part, sums: &mut Vec<Sums>, results: &mut [f32]) {
        let Self { unit, left, weights, .. } = self;
        let panels = part.rows.len().div_ceil(SIDE);
        let depth = tiles_of::<Bytes>(left.columns());
        for first in part.columns.clone().step_by(BLOCK) {
            sums.clear();
            sums.resize(self.pairs().count() * panels, Sums::ZERO);
            for from in (0..depth).step_by(CHUNK) {
                let to = depth.min(from + CHUNK);
                for ((ours, theirs), sums) in self.pairs().zip(sums.chunks_exact_mut(panels)) {
                    let column = first / SIDE;
                    let right = [0, 1].map(|next| weights.panel(theirs, column + next, from, to));
                    for (panel, sums) in sums.iter_mut().enumerate() {
                        let panel = part.rows.start / SIDE + panel;
                        unit.add(left.panel(ours, panel, from, to), right, sums);
                    }
                }
            }
            widest(
                #[inline(always)]
                || self.finish(part, first, sums, results),
            );
        }
    }

    /// The pairs of a plane of the left operand and one of the weights.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let theirs = self.weights.planes();
        (0..self.left.planes()).flat_map(move |ours| (0..theirs).map(move |theirs| (ours, theirs)))
    }

    /// Makes results of the sums of up to 32 columns from `first`. The sums of a pair of planes lie one after another.
    #[inline(always)]
    fn finish(&self, part: &Part, first: usize, sums: &[Sums], results: &mut [f32]) {
        let Self { left, weights, constants, .. } = self;
        let panels = part.rows.len().div_ceil(SIDE);
        let last = part.columns.end.min(first + BLOCK);
        let (totals, scales) = (&weights.totals[first..last], &weights.scales[first..last]);
        let constants = &constants[first..last];
        let zero = f64::from(left.zero);
        let lines = results.chunks_exact_mut(part.columns.len());
        for (line, (results, row)) in lines.zip(part.rows.clone()).enumerate() {
            let results = &mut results[first - part.columns.start..last - part.columns.start];
            // Whole numbers below 2⁵³ throughout, so every addition is exact.
            let mut joined = [0.0; BLOCK];
            for ((ours, theirs), sums) in self.pairs().zip(sums.chunks_exact(panels)) {
                // The place of the pair, counted from the lowest.
                let place = (left.planes() - 1 - ours) + (weights.planes() - 1 - theirs);
                let factor = f64::from(1 << (8 * place));
                for (joined, sum) in joined.iter_mut().zip(&sums[line / SIDE].0[line % SIDE]) {
                    *joined += factor * f64::from(*sum);
                }
            }
            let scale = f64::from(left.scales[row]);
            let columns = totals.iter().zip(scales).zip(constants);
            for ((result, sum), ((total, of_output), constant)) in results.iter_mut().zip(joined).zip(columns)
            {
                let sum = sum - zero * total;
                *result = (sum * (scale * f64::from(*of_output)) + f64::from(*constant)) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests;
