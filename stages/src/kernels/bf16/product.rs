//! Products of matrices, from products of tiles.
//!
//! One operand is packed as a whole. The other is split into bands, one for each task, which packs it piece by piece into
//! memory that stays in the cache.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::number::Bf16;
use super::results::Results;
use super::unit::Unit;
use crate::kernels::tiles::pack::{Form, panels_of, tiles_of};
use crate::kernels::tiles::tile::{BLOCK, SIDE, Tile};
use crate::kernels::tiles::{Matrix, Number, Right};

/// The tiles along the sums that are multiplied at a time: with them, a block's operands stay in the first cache.
const CHUNK: usize = 16;

/// The largest number of rows or columns of one band: with it, a chunk of the band stays in the second cache.
const BAND: usize = 256;

/// `left · right` [rows of left, columns of right], row by row.
///
/// # Panics
/// If the columns of `left` are not as many as the rows of `right`.
pub(crate) fn product<T: Number<Bf16>>(left: Matrix<T>, right: &Right<Bf16>) -> Vec<f32> {
    product_by(Unit::best(), left, right)
}

/// `left · right`, as [`product`], where `right` serves only once.
pub(crate) fn product_once<L: Number<Bf16>, R: Number<Bf16>>(left: Matrix<L>, right: Matrix<R>) -> Vec<f32> {
    product_once_by(Unit::best(), left, right)
}

/// [`product`] by one unit.
pub(super) fn product_by<T: Number<Bf16>>(unit: Unit, left: Matrix<T>, right: &Right<Bf16>) -> Vec<f32> {
    assert_eq!(left.columns(), right.rows(), "the columns of the left operand and the rows of the right one");
    if left.rows() < right.columns() && left.rows() <= BAND {
        by_columns(unit, left, right.columns(), &PackedSource(right))
    } else {
        by_rows(unit, left, right)
    }
}

/// [`product_once`] by one unit.
pub(super) fn product_once_by<L: Number<Bf16>, R: Number<Bf16>>(
    unit: Unit,
    left: Matrix<L>,
    right: Matrix<R>,
) -> Vec<f32> {
    assert_eq!(left.columns(), right.rows(), "the columns of the left operand and the rows of the right one");
    if left.rows() < right.columns() && left.rows() <= BAND {
        by_columns(unit, left, right.columns(), &MatrixSource(right))
    } else {
        by_rows(unit, left, &Right::pack(right))
    }
}

/// The number of lines of one band, a multiple of 32, so that every thread gets several bands where there are enough.
fn band_of(lines: usize) -> usize {
    let share = lines.div_ceil(4 * rayon::current_num_threads());
    share.next_multiple_of(BLOCK).clamp(BLOCK, BAND)
}

/// The product in bands of rows, for many rows.
fn by_rows<T: Number<Bf16>>(unit: Unit, left: Matrix<T>, right: &Right<Bf16>) -> Vec<f32> {
    let (rows, columns) = (left.rows(), right.columns());
    let (depth, band) = (tiles_of::<Bf16>(left.columns()), band_of(rows));
    if rows * columns * depth == 0 {
        return vec![0.0; rows * columns];
    }
    let mut results = Vec::with_capacity(rows * columns);
    let memory = &mut results.spare_capacity_mut()[..rows * columns];
    memory.par_chunks_mut(band * columns).enumerate().for_each_init(Vec::new, |packed, (index, memory)| {
        let first = index * band;
        let panels = panels_of(memory.len() / columns);
        let mut values = Values::Fresh(memory);
        for from in (0..depth).step_by(CHUNK) {
            let to = depth.min(from + CHUNK);
            packed.resize(panels * (to - from), Tile::ZERO);
            left.left_band(first, from * Bf16::DEPTH, to - from, packed);
            values = blocks(
                unit,
                Place { values, columns },
                panels,
                |panel| &packed[panel * (to - from)..][..to - from],
                |panel| right.panel(panel, from, to),
            );
        }
    });
    // SAFETY: the capacity is at least this length. `depth` is at least 1, so that `blocks` was called for each band, and it
    // writes every number of its band.
    unsafe { results.set_len(rows * columns) };
    results
}

/// Where the right operand's tiles come from while a band of columns is computed.
trait Source: Sync {
    /// The tiles `from..to` of the panels of a band. They are packed into `memory` unless they are packed already.
    fn band<'a>(
        &'a self,
        panels: std::ops::Range<usize>,
        from_to: std::ops::Range<usize>,
        memory: &'a mut Vec<Tile>,
    ) -> Vec<&'a [Tile]>;
}

/// A right operand that is packed.
struct PackedSource<'a>(&'a Right<Bf16>);

impl Source for PackedSource<'_> {
    fn band<'a>(
        &'a self,
        panels: std::ops::Range<usize>,
        places: std::ops::Range<usize>,
        _: &'a mut Vec<Tile>,
    ) -> Vec<&'a [Tile]> {
        panels.map(|panel| self.0.panel(panel, places.start, places.end)).collect()
    }
}

/// A right operand that is packed on the way.
struct MatrixSource<'m, T>(Matrix<'m, T>);

impl<T: Number<Bf16>> Source for MatrixSource<'_, T> {
    fn band<'a>(
        &'a self,
        panels: std::ops::Range<usize>,
        places: std::ops::Range<usize>,
        memory: &'a mut Vec<Tile>,
    ) -> Vec<&'a [Tile]> {
        memory.resize(panels.len() * places.len(), Tile::ZERO);
        self.0.right_band(places.start * Bf16::DEPTH, panels.start * SIDE, places.len(), memory);
        memory.chunks_exact(places.len()).collect()
    }
}

/// The product in bands of columns, for few rows.
fn by_columns<T: Number<Bf16>>(unit: Unit, left: Matrix<T>, columns: usize, right: &impl Source) -> Vec<f32> {
    let rows = left.rows();
    let mut results = vec![0.0; rows * columns];
    let depth = tiles_of::<Bf16>(left.columns());
    if rows * columns * depth == 0 {
        return results;
    }
    let left_panels = panels_of(rows);
    let mut packed = vec![Tile::ZERO; left_panels * depth];
    packed.par_chunks_mut(depth.max(1)).enumerate().for_each(|(panel, tiles)| {
        left.left_tiles(panel * SIDE, 0, tiles);
    });
    let band = band_of(columns);
    let bands: Vec<usize> = (0..columns).step_by(band).collect();
    let computed: Vec<Vec<f32>> = bands
        .par_iter()
        .map_init(Vec::new, |memory, first| {
            let width = band.min(columns - first);
            let panels = first / SIDE..first / SIDE + panels_of(width);
            let mut part = vec![0.0; rows * width];
            let mut values = Values::Begun(&mut part);
            for from in (0..depth).step_by(CHUNK) {
                let to = depth.min(from + CHUNK);
                let tiles = right.band(panels.clone(), from..to, memory);
                values = blocks(
                    unit,
                    Place { values, columns: width },
                    left_panels,
                    |panel| &packed[panel * depth..][from..to],
                    |panel| tiles[panel],
                );
            }
            part
        })
        .collect();
    for (first, part) in bands.into_iter().zip(&computed) {
        let width = band.min(columns - first);
        for (target, part) in results.chunks_exact_mut(columns).zip(part.chunks_exact(width)) {
            target[first..first + width].copy_from_slice(part);
        }
    }
    results
}

/// The results of a band, all rows of which lie one after another.
struct Place<'a> {
    values: Values<'a>,
    columns: usize,
}

/// The memory of results.
enum Values<'a> {
    /// Nothing was written to it yet.
    Fresh(&'a mut [MaybeUninit<f32>]),
    /// The results so far, to which more are added.
    Begun(&'a mut [f32]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Fresh(values) => values.len(),
            Self::Begun(values) => values.len(),
        }
    }

    /// The place of the block of results that begins at `first`.
    fn block(&mut self, first: usize, stride: usize) -> Results<'_> {
        match self {
            Self::Fresh(values) => Results::fresh(&mut values[first..], stride),
            Self::Begun(values) => Results::begun(&mut values[first..], stride),
        }
    }
}

/// Computes all blocks of a band, from the tiles of its panels, of which there are two for each 32 rows. Returns its results.
fn blocks<'a, 't>(
    unit: Unit,
    place: Place<'a>,
    left_panels: usize,
    left: impl Fn(usize) -> &'t [Tile],
    right: impl Fn(usize) -> &'t [Tile],
) -> Values<'a> {
    let Place { mut values, columns } = place;
    let rows = values.len() / columns;
    assert!(values.len() == rows * columns && left_panels * SIDE >= rows, "panels for all rows");
    let mut edge = [0.0; BLOCK * BLOCK];
    for column in (0..columns).step_by(BLOCK) {
        let panel = column / SIDE;
        let right = [right(panel), right(panel + 1)];
        for panel in (0..left_panels).step_by(2) {
            let left = [left(panel), left(panel + 1)];
            let row = panel * SIDE;
            let first = row * columns + column;
            if row + BLOCK <= rows && column + BLOCK <= columns {
                unit.block(left, right, &mut values.block(first, columns));
                continue;
            }
            // The block reaches over an edge of the results, and is computed beside them.
            let width = BLOCK.min(columns - column);
            let height = BLOCK.min(rows.saturating_sub(row));
            let at = |line: usize| first + line * columns..first + line * columns + width;
            match &mut values {
                Values::Fresh(_) => edge.fill(0.0),
                Values::Begun(values) => {
                    for (line, edge) in edge.chunks_exact_mut(BLOCK).take(height).enumerate() {
                        edge[..width].copy_from_slice(&values[at(line)]);
                    }
                }
            }
            unit.block(left, right, &mut Results::begun(&mut edge, BLOCK).first_rows(height));
            for (line, edge) in edge.chunks_exact(BLOCK).take(height).enumerate() {
                match &mut values {
                    Values::Fresh(values) => {
                        for (value, result) in values[at(line)].iter_mut().zip(edge) {
                            value.write(*result);
                        }
                    }
                    Values::Begun(values) => values[at(line)].copy_from_slice(&edge[..width]),
                }
            }
        }
    }
    match values {
        // SAFETY: the loops have written every number. Each row is below `left_panels · 16` and each column below `columns`,
        // so each number is one of a block, which is either whole and writes its 32 × 32 numbers, or is copied from `edge` up to
        // the last row and column. An initialized number has the memory of one that may not be.
        Values::Fresh(values) => Values::Begun(unsafe { &mut *(std::ptr::from_mut(values) as *mut [f32]) }),
        begun @ Values::Begun(_) => begun,
    }
}

#[cfg(test)]
mod tests;
