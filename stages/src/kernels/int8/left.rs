//! The left operand of products: codes, or numbers that are rounded to 16 bits.

use rayon::prelude::*;

use super::number::Bytes;
use crate::kernels::tiles::Matrix;
use crate::kernels::tiles::pack::tiles_of;
use crate::kernels::tiles::tile::{SIDE, Tile};
use crate::kernels::wide::widest;

/// The code that stands for zero.
const ZERO_CODE: u8 = 128;

/// The whole number that stands for zero where a row has 16 bits.
const ZERO_NUMBER: i32 = 1 << 15;

/// The largest whole number, less that of zero, to which a number of a row is rounded.
const LARGEST: f32 = 32_767.0;

/// Rows of whole numbers u ≥ 0, packed, which stand for `(u − zero) · scale` with a scale for each row.
pub(crate) struct Left {
    /// The bytes of u, those of the highest place first. Each plane has panel after panel of 16 rows.
    planes: Vec<Vec<Tile>>,
    rows: usize,
    columns: usize,
    /// [rows].
    pub(super) scales: Vec<f32>,
    pub(super) zero: i32,
}

impl Left {
    /// Codes, each of which stands for the code less 128.
    pub(crate) fn of_codes(codes: Matrix<u8>) -> Self {
        Self {
            planes: vec![pack(codes)],
            rows: codes.rows(),
            columns: codes.columns(),
            scales: vec![1.0; codes.rows()],
            zero: i32::from(ZERO_CODE),
        }
    }

    /// Numbers [rows, columns], each rounded to the nearest of 65,535 that lie evenly between the largest size of its row
    /// and the negative of it. A row with a number that is not finite gets NaN as its scale.
    pub(crate) fn of_numbers(numbers: &[f32], rows: usize, columns: usize) -> Self {
        let (mut high, mut low) = (vec![0; numbers.len()], vec![0; numbers.len()]);
        let width = columns.max(1);
        let lines = high.par_chunks_mut(width).zip(low.par_chunks_mut(width)).zip(numbers.par_chunks(width));
        let scales = lines.map(|((high, low), row)| round_row(row, high, low)).collect();
        let planes = [high, low].map(|plane| pack(Matrix::of_rows(&plane, rows, columns)));
        Self { planes: planes.into(), rows, columns, scales, zero: ZERO_NUMBER }
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The number of planes.
    pub(super) fn planes(&self) -> usize {
        self.planes.len()
    }

    /// The tiles `from..to` of a panel of one plane.
    pub(super) fn panel(&self, plane: usize, panel: usize, from: usize, to: usize) -> &[Tile] {
        let depth = tiles_of::<Bytes>(self.columns);
        &self.planes[plane][panel * depth + from..panel * depth + to]
    }
}

/// The left tiles of a matrix.
fn pack(matrix: Matrix<u8>) -> Vec<Tile> {
    let depth = tiles_of::<Bytes>(matrix.columns());
    let mut tiles = vec![Tile::ZERO; matrix.rows().div_ceil(SIDE) * depth];
    tiles.par_chunks_mut(depth.max(1)).enumerate().for_each(|(panel, tiles)| {
        matrix.left_tiles::<Bytes>(panel * SIDE, 0, tiles);
    });
    tiles
}

/// Writes the high and the low bytes of the whole numbers of a row, and returns the row's scale.
fn round_row(row: &[f32], high: &mut [u8], low: &mut [u8]) -> f32 {
    widest(
        #[inline(always)]
        || {
            // The size without its sign, as bits: they have the order of the numbers, and NaN is above all.
            let largest = row.iter().fold(0, |top: u32, number| top.max(number.to_bits() & 0x7fff_ffff));
            let largest = f32::from_bits(largest);
            if !largest.is_finite() {
                return f32::NAN;
            }
            let scale = largest / LARGEST;
            // Where even the largest number is too small for a scale, all numbers count as zero.
            let inverse = if scale.is_normal() { 1.0 / scale } else { 0.0 };
            for ((high, low), number) in high.iter_mut().zip(low).zip(row) {
                let whole = (number * inverse).round_ties_even().clamp(-LARGEST, LARGEST) as i32;
                let [first, second, ..] = (whole + ZERO_NUMBER).to_le_bytes();
                (*high, *low) = (second, first);
            }
            scale
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number that a row's bytes stand for.
    fn stands_for(high: u8, low: u8, scale: f32) -> f64 {
        f64::from(256 * i32::from(high) + i32::from(low) - ZERO_NUMBER) * f64::from(scale)
    }

    #[test]
    fn a_number_of_a_row_moves_by_half_a_step_at_most() {
        let row: Vec<f32> = (0..1000).map(|i| ((i * 7919 % 1999) as f32 - 999.0) / 37.0).collect();
        let (mut high, mut low) = (vec![0; 1000], vec![0; 1000]);
        let scale = round_row(&row, &mut high, &mut low);
        assert!((f64::from(scale) - 999.0 / 37.0 / 32767.0).abs() < 1e-9);
        for ((number, high), low) in row.iter().zip(high).zip(low) {
            let found = stands_for(high, low, scale);
            // The whole number is rounded from an f32 near 2^15, which may be off by two roundings of 2^-24 of it.
            let most = 0.5 + 2.0 / 512.0;
            assert!((found - f64::from(*number)).abs() <= most * f64::from(scale), "{number} {found}");
        }
    }

    #[test]
    fn rows_without_a_scale_are_zero_or_nan() {
        let (mut high, mut low) = ([7; 3], [7; 3]);
        for tiny in [0.0, 1e-41, -1e-36] {
            let scale = round_row(&[tiny, 0.0, -0.0], &mut high, &mut low);
            assert!(scale.abs() < 1e-39);
            assert_eq!((high, low), ([128; 3], [0; 3]));
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(round_row(&[1.0, bad, 2.0], &mut high, &mut low).is_nan());
        }
        let scale = round_row(&[f32::MAX, f32::MIN, 0.0], &mut high, &mut low);
        assert_eq!((high, low), ([255, 0, 128], [255, 1, 0]));
        assert!(scale.is_normal());
    }
}
