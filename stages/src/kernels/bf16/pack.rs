//! From matrices to tiles, with rounding to bf16.

use rayon::prelude::*;

use super::tile::{BLOCK, DEPTH, PAIRS, SIDE, Tile};
use crate::kernels::wide::widest;

/// A number of an operand.
pub(crate) trait Number: Copy + Sync {
    /// The bits of an f32 whose upper half is the number as a bf16.
    fn bits(self) -> u32;
}

impl Number for f32 {
    /// Rounds to the nearest bf16, ties to even. A NaN stays a NaN.
    #[inline(always)]
    fn bits(self) -> u32 {
        let bits = self.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        if self.is_nan() { bits | 0x0040_0000 } else { rounded }
    }
}

impl Number for u8 {
    /// The byte less 128, which a bf16 holds exactly.
    #[inline(always)]
    fn bits(self) -> u32 {
        (f32::from(self) - 128.0).to_bits()
    }
}

/// A pair of neighbours, of which the first is the lower half.
#[inline(always)]
fn pair<T: Number>(first: T, second: T) -> u32 {
    first.bits() >> 16 | second.bits() & 0xffff_0000
}

/// A matrix in memory, row by row or column by column.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    /// The distance of two rows, or of two columns where the matrix lies column by column.
    stride: usize,
    by_columns: bool,
}

impl<'a, T: Number> Matrix<'a, T> {
    /// A matrix whose rows lie one after another.
    ///
    /// # Panics
    /// If `values` are not `rows · columns` numbers.
    pub(crate) fn of_rows(values: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "the values of a matrix");
        Self { values, rows, columns, stride: columns, by_columns: false }
    }

    /// The transposed matrix, in the same memory.
    pub(crate) fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, by_columns: !self.by_columns, ..self }
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Packs left tiles that follow each other along a row, the first one at `row` and `column`.
    pub(super) fn left_tiles(&self, row: usize, column: usize, tiles: &mut [Tile]) {
        widest(
            #[inline(always)]
            || {
                for (index, tile) in tiles.iter_mut().enumerate() {
                    self.left_tile(row, column + index * DEPTH, tile);
                }
            },
        );
    }

    /// Packs right tiles that follow each other along a column, the first one at `row` and `column`.
    pub(super) fn right_tiles(&self, row: usize, column: usize, tiles: &mut [Tile]) {
        widest(
            #[inline(always)]
            || {
                for (index, tile) in tiles.iter_mut().enumerate() {
                    self.right_tile(row + index * DEPTH, column, tile);
                }
            },
        );
    }

    /// Packs the left tile of rows from `row` and columns from `column`. What lies outside the matrix is zero.
    #[inline(always)]
    fn left_tile(&self, row: usize, column: usize, tile: &mut Tile) {
        if self.by_columns {
            let mut across = Tile::ZERO;
            self.across(column, row, &mut across);
            across.transpose(tile);
        } else {
            self.along(row, column, tile);
        }
    }

    /// Packs the right tile of rows from `row` and columns from `column`. What lies outside the matrix is zero.
    #[inline(always)]
    fn right_tile(&self, row: usize, column: usize, tile: &mut Tile) {
        if self.by_columns {
            let mut along = Tile::ZERO;
            self.along(column, row, &mut along);
            along.transpose(tile);
        } else {
            self.across(row, column, tile);
        }
    }

    /// Packs 16 lines of memory from `line`, each from `place`. The pairs are neighbours of one line.
    #[inline(always)]
    fn along(&self, line: usize, place: usize, tile: &mut Tile) {
        let (lines, length) = self.lines();
        for (index, pairs) in tile.0.chunks_exact_mut(PAIRS).enumerate() {
            let line = line + index;
            if line >= lines || place >= length {
                pairs.fill(0);
                continue;
            }
            let line = &self.values[line * self.stride..line * self.stride + length];
            if let Some((values, _)) = line[place..].split_first_chunk::<DEPTH>() {
                for (index, target) in pairs.iter_mut().enumerate() {
                    *target = pair(values[2 * index], values[2 * index + 1]);
                }
            } else {
                let rest = &line[place..];
                for (index, target) in pairs.iter_mut().enumerate() {
                    let at = |place: usize| rest.get(place).map_or(0, |value| value.bits());
                    *target = at(2 * index) >> 16 | at(2 * index + 1) & 0xffff_0000;
                }
            }
        }
    }

    /// Packs 32 lines of memory from `line`, each of 16 numbers from `place`. The pairs are two lines that follow each
    /// other.
    #[inline(always)]
    fn across(&self, line: usize, place: usize, tile: &mut Tile) {
        let (lines, length) = self.lines();
        let numbers = |line: usize| -> &[T] {
            if line >= lines || place >= length {
                return &[];
            }
            &self.values[line * self.stride + place..line * self.stride + length.min(place + SIDE)]
        };
        for (index, targets) in tile.0.chunks_exact_mut(SIDE).enumerate() {
            let (first, second) = (numbers(line + 2 * index), numbers(line + 2 * index + 1));
            if let (Some(first), Some(second)) = (first.first_chunk::<SIDE>(), second.first_chunk::<SIDE>()) {
                for ((target, first), second) in targets.iter_mut().zip(first).zip(second) {
                    *target = pair(*first, *second);
                }
            } else {
                for (index, target) in targets.iter_mut().enumerate() {
                    let at = |numbers: &[T]| numbers.get(index).map_or(0, |value| value.bits());
                    *target = at(first) >> 16 | at(second) & 0xffff_0000;
                }
            }
        }
    }

    /// The number of lines of memory, and the numbers of each.
    fn lines(&self) -> (usize, usize) {
        if self.by_columns { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }
}

/// The number of tiles along which the sums of `depth` products are taken.
pub(super) fn tiles_of(depth: usize) -> usize {
    depth.div_ceil(DEPTH)
}

/// The number of panels of 16 rows or columns, an even number.
pub(super) fn panels_of(lines: usize) -> usize {
    lines.div_ceil(BLOCK) * 2
}

/// The right operand of products, packed. It serves any number of products.
pub(crate) struct Right {
    /// Panel after panel of 16 columns.
    tiles: Vec<Tile>,
    rows: usize,
    columns: usize,
}

impl Right {
    /// Packs a matrix.
    pub(crate) fn pack<T: Number>(matrix: Matrix<T>) -> Self {
        let depth = tiles_of(matrix.rows);
        let mut tiles = vec![Tile::ZERO; panels_of(matrix.columns) * depth];
        tiles.par_chunks_mut(depth.max(1)).enumerate().for_each(|(panel, tiles)| {
            matrix.right_tiles(0, panel * SIDE, tiles);
        });
        Self { tiles, rows: matrix.rows, columns: matrix.columns }
    }

    /// Packs a matrix that exists column by column alone: `fill` writes the column of a number into its second argument,
    /// which has `rows` elements.
    pub(crate) fn pack_columns(rows: usize, columns: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        let depth = tiles_of(rows);
        let mut tiles = vec![Tile::ZERO; panels_of(columns) * depth];
        tiles.par_chunks_mut(depth.max(1)).enumerate().for_each_init(Vec::new, |memory, (panel, tiles)| {
            let count = SIDE.min(columns.saturating_sub(panel * SIDE));
            memory.resize(count * rows, 0.0);
            for (index, column) in memory.chunks_exact_mut(rows.max(1)).enumerate() {
                fill(panel * SIDE + index, column);
            }
            Matrix::of_rows(memory, count, rows).transposed().right_tiles(0, 0, tiles);
        });
        Self { tiles, rows, columns }
    }

    /// The number of rows of the matrix.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns of the matrix.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The tiles `from..to` of a panel.
    pub(super) fn panel(&self, panel: usize, from: usize, to: usize) -> &[Tile] {
        let depth = tiles_of(self.rows);
        &self.tiles[panel * depth + from..panel * depth + to]
    }
}
