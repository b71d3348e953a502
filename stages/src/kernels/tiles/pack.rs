//! From matrices to tiles.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::tile::{BLOCK, SIDE, Tile, WORDS};
use crate::kernels::wide::widest;

/// The panels of a right operand that a thread packs at a time.
const PANELS: usize = 4;

/// The numbers that a tile holds.
pub(crate) trait Form: Send + Sync {
    /// The numbers of one word, 2 or 4.
    const GROUP: usize;

    /// The numbers along the direction in which sums are taken, in one tile.
    const DEPTH: usize = Self::GROUP * WORDS;
}

/// A number of an operand, which becomes part of a word of form `F`.
pub(crate) trait Number<F: Form>: Copy + Sync {
    /// The bits of the number in its word, where it stands at this place of its group. All other bits are zero.
    fn bits<const PLACE: usize>(self) -> u32;
}

/// The word of a group, or of the beginning of one.
#[inline(always)]
fn word<F: Form, T: Number<F>>(group: &[T]) -> u32 {
    const { assert!(F::GROUP == 2 || F::GROUP == 4) };
    let at = |place: usize| group.get(place).copied();
    at(0).map_or(0, |number| number.bits::<0>())
        | at(1).map_or(0, |number| number.bits::<1>())
        | at(2).map_or(0, |number| number.bits::<2>())
        | at(3).map_or(0, |number| number.bits::<3>())
}

/// Makes the words of a line's groups, of which the last ones may be short or missing. Whole lines have a loop of their own
/// for each size of groups, which the compiler computes in wide vectors.
#[inline(always)]
fn words_along<F: Form, T: Number<F>>(line: &[T], words: &mut [u32]) {
    if F::GROUP == 2
        && let Some(line) = line.first_chunk::<{ 2 * WORDS }>()
    {
        for (index, word) in words.iter_mut().enumerate() {
            *word = line[2 * index].bits::<0>() | line[2 * index + 1].bits::<1>();
        }
    } else if F::GROUP == 4
        && let Some(line) = line.first_chunk::<{ 4 * WORDS }>()
    {
        for (index, word) in words.iter_mut().enumerate() {
            let [first, second] = [line[4 * index].bits::<0>(), line[4 * index + 1].bits::<1>()];
            let [third, fourth] = [line[4 * index + 2].bits::<2>(), line[4 * index + 3].bits::<3>()];
            *word = first | second | third | fourth;
        }
    } else {
        let mut groups = line.chunks(F::GROUP);
        words.iter_mut().for_each(|target| *target = groups.next().map_or(0, word::<F, T>));
    }
}

/// Makes words of lines that follow each other, as many as a group has numbers. Lines may be short or missing. Whole ones
/// have a loop of their own, as in [`words_along`].
#[inline(always)]
fn words_across<'a, F: Form, T: Number<F> + 'a>(line: impl Fn(usize) -> &'a [T], words: &mut [u32]) {
    let whole = |place: usize| line(place).first_chunk::<SIDE>();
    if F::GROUP == 2
        && let (Some(first), Some(second)) = (whole(0), whole(1))
    {
        for ((word, first), second) in words.iter_mut().zip(first).zip(second) {
            *word = first.bits::<0>() | second.bits::<1>();
        }
    } else if F::GROUP == 4
        && let (Some(first), Some(second), Some(third), Some(fourth)) =
            (whole(0), whole(1), whole(2), whole(3))
    {
        let lines = first.iter().zip(second).zip(third).zip(fourth);
        for (word, (((first, second), third), fourth)) in words.iter_mut().zip(lines) {
            *word = first.bits::<0>() | second.bits::<1>() | third.bits::<2>() | fourth.bits::<3>();
        }
    } else {
        let lines: [&[T]; 4] = [0, 1, 2, 3].map(|place| if place < F::GROUP { line(place) } else { &[] });
        for (column, word) in words.iter_mut().enumerate() {
            let at = |place: usize| lines[place].get(column).copied();
            *word = at(0).map_or(0, |number| number.bits::<0>())
                | at(1).map_or(0, |number| number.bits::<1>())
                | at(2).map_or(0, |number| number.bits::<2>())
                | at(3).map_or(0, |number| number.bits::<3>());
        }
    }
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

impl<'a, T: Copy> Matrix<'a, T> {
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
    pub(crate) fn left_tiles<F: Form>(&self, row: usize, column: usize, tiles: &mut [Tile])
    where
        T: Number<F>,
    {
        self.left_band(row, column, tiles.len(), tiles);
    }

    /// Packs the left tiles of a band of panels, the first tile at `row` and `column`, `count` tiles of each panel one after
    /// another.
    pub(crate) fn left_band<F: Form>(&self, row: usize, column: usize, count: usize, tiles: &mut [Tile])
    where
        T: Number<F>,
    {
        widest(
            #[inline(always)]
            || {
                if self.by_columns {
                    self.across(column, row, count, tiles);
                    transpose(tiles);
                } else {
                    self.along(row, column, count, tiles);
                }
            },
        );
    }

    /// Packs right tiles that follow each other along a column, the first one at `row` and `column`.
    pub(crate) fn right_tiles<F: Form>(&self, row: usize, column: usize, tiles: &mut [Tile])
    where
        T: Number<F>,
    {
        self.right_band(row, column, tiles.len(), tiles);
    }

    /// Packs the right tiles of a band of panels, the first tile at `row` and `column`, `count` tiles of each panel one after
    /// another.
    pub(crate) fn right_band<F: Form>(&self, row: usize, column: usize, count: usize, tiles: &mut [Tile])
    where
        T: Number<F>,
    {
        widest(
            #[inline(always)]
            || {
                if self.by_columns {
                    self.along(column, row, count, tiles);
                    transpose(tiles);
                } else {
                    self.across(row, column, count, tiles);
                }
            },
        );
    }

    /// Packs panels of 16 lines of memory from `line`, `count` tiles of each from `place`. The groups are neighbours of one
    /// line. What lies outside the matrix is zero.
    ///
    /// One line after the other is read, because the processor fetches ahead along a line and not from line to line.
    #[inline(always)]
    fn along<F: Form>(&self, line: usize, place: usize, count: usize, tiles: &mut [Tile])
    where
        T: Number<F>,
    {
        let (lines, length) = self.lines();
        for (panel, tiles) in tiles.chunks_exact_mut(count.max(1)).enumerate() {
            for index in 0..SIDE {
                let line = line + panel * SIDE + index;
                for (turn, tile) in tiles.iter_mut().enumerate() {
                    let words = &mut tile.0[index * WORDS..(index + 1) * WORDS];
                    let place = place + turn * F::DEPTH;
                    if line >= lines || place >= length {
                        words.fill(0);
                        continue;
                    }
                    let rest = &self.values[line * self.stride + place..line * self.stride + length];
                    words_along::<F, T>(rest, words);
                }
            }
        }
    }

    /// Packs lines of memory from `line`, `count` tiles one after the other, each of 16 numbers from `place` for each panel.
    /// The groups are lines that follow each other. What lies outside the matrix is zero.
    ///
    /// The lines of a group are read along all panels before the next group, as in [`Matrix::along`].
    #[inline(always)]
    fn across<F: Form>(&self, line: usize, place: usize, count: usize, tiles: &mut [Tile])
    where
        T: Number<F>,
    {
        let (lines, length) = self.lines();
        for turn in 0..count {
            for group in 0..WORDS {
                let line = line + turn * F::DEPTH + group * F::GROUP;
                for (panel, tiles) in tiles.chunks_exact_mut(count).enumerate() {
                    let place = place + panel * SIDE;
                    let numbers = |line: usize| -> &[T] {
                        if line >= lines || place >= length {
                            return &[];
                        }
                        &self.values
                            [line * self.stride + place..line * self.stride + length.min(place + SIDE)]
                    };
                    let words = &mut tiles[turn].0[group * SIDE..(group + 1) * SIDE];
                    words_across::<F, T>(|offset| numbers(line + offset), words);
                }
            }
        }
    }

    /// The number of lines of memory, and the numbers of each.
    fn lines(&self) -> (usize, usize) {
        if self.by_columns { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }
}

/// Makes right tiles of left ones, or the other way round.
#[inline(always)]
fn transpose(tiles: &mut [Tile]) {
    for tile in tiles {
        let other = tile.clone();
        other.transpose(tile);
    }
}

/// The number of tiles along which the sums of `depth` products are taken.
pub(crate) fn tiles_of<F: Form>(depth: usize) -> usize {
    depth.div_ceil(F::DEPTH)
}

/// The number of panels of 16 rows or columns, an even number.
pub(crate) fn panels_of(lines: usize) -> usize {
    lines.div_ceil(BLOCK) * 2
}

/// The right operand of products, packed. It serves any number of products.
pub(crate) struct Right<F> {
    /// Panel after panel of 16 columns.
    tiles: Vec<Tile>,
    rows: usize,
    columns: usize,
    form: PhantomData<F>,
}

impl<F: Form> Right<F> {
    /// Packs a matrix.
    pub(crate) fn pack<T: Number<F>>(matrix: Matrix<T>) -> Self {
        let depth = tiles_of::<F>(matrix.rows);
        let mut tiles = vec![Tile::ZERO; panels_of(matrix.columns) * depth];
        tiles.par_chunks_mut((PANELS * depth).max(1)).enumerate().for_each(|(band, tiles)| {
            matrix.right_band(0, band * PANELS * SIDE, depth, tiles);
        });
        Self { tiles, rows: matrix.rows, columns: matrix.columns, form: PhantomData }
    }

    /// Packs a matrix that exists column by column alone: `fill` writes the column of a number into its second argument,
    /// which has `rows` elements.
    pub(crate) fn pack_columns<T: Number<F> + Default>(
        rows: usize,
        columns: usize,
        fill: impl Fn(usize, &mut [T]) + Sync,
    ) -> Self {
        let depth = tiles_of::<F>(rows);
        let mut tiles = vec![Tile::ZERO; panels_of(columns) * depth];
        tiles.par_chunks_mut(depth.max(1)).enumerate().for_each_init(Vec::new, |memory, (panel, tiles)| {
            let count = SIDE.min(columns.saturating_sub(panel * SIDE));
            memory.resize(count * rows, T::default());
            for (index, column) in memory.chunks_exact_mut(rows.max(1)).enumerate() {
                fill(panel * SIDE + index, column);
            }
            Matrix::of_rows(memory, count, rows).transposed().right_tiles(0, 0, tiles);
        });
        Self { tiles, rows, columns, form: PhantomData }
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
    pub(crate) fn panel(&self, panel: usize, from: usize, to: usize) -> &[Tile] {
        let depth = tiles_of::<F>(self.rows);
        &self.tiles[panel * depth + from..panel * depth + to]
    }
}
