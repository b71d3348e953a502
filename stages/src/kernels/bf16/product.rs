//! Products of matrices, from products of tiles.
//!
//! One operand is packed as a whole. The other is split into bands, one for each task, which packs it piece by piece into
//! memory that stays in the cache.

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
    let mut results = vec![0.0; rows * columns];
    if rows == 0 || columns == 0 {
        return results;
    }
    let (depth, band) = (tiles_of::<Bf16>(left.columns()), band_of(rows));
    results.par_chunks_mut(band * columns).enumerate().for_each_init(Vec::new, |packed, (index, results)| {
        let first = index * band;
        let panels = panels_of(results.len() / columns);
        for from in (0..depth).step_by(CHUNK) {
            let to = depth.min(from + CHUNK);
            packed.resize(panels * (to - from), Tile::ZERO);
            for (panel, tiles) in packed.chunks_exact_mut(to - from).enumerate() {
                left.left_tiles(first + panel * SIDE, from * Bf16::DEPTH, tiles);
            }
            let place = Place { values: &mut *results, columns, fresh: from == 0 };
            blocks(
                unit,
                place,
                panels,
                |panel| &packed[panel * (to - from)..][..to - from],
                |panel| right.panel(panel, from, to),
            );
        }
    });
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
        for (tiles, panel) in memory.chunks_exact_mut(places.len()).zip(panels) {
            self.0.right_tiles(places.start * Bf16::DEPTH, panel * SIDE, tiles);
        }
        memory.chunks_exact(places.len()).collect()
    }
}

/// The product in bands of columns, for few rows.
fn by_columns<T: Number<Bf16>>(unit: Unit, left: Matrix<T>, columns: usize, right: &impl Source) -> Vec<f32> {
    let rows = left.rows();
    let mut results = vec![0.0; rows * columns];
    if rows == 0 || columns == 0 {
        return results;
    }
    let depth = tiles_of::<Bf16>(left.columns());
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
            for from in (0..depth).step_by(CHUNK) {
                let to = depth.min(from + CHUNK);
                let tiles = right.band(panels.clone(), from..to, memory);
                let place = Place { values: &mut part, columns: width, fresh: from == 0 };
                blocks(
                    unit,
                    place,
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
    values: &'a mut [f32],
    columns: usize,
    fresh: bool,
}

/// Computes all blocks of a band, from the tiles of its panels.
fn blocks<'t>(
    unit: Unit,
    place: Place,
    left_panels: usize,
    left: impl Fn(usize) -> &'t [Tile],
    right: impl Fn(usize) -> &'t [Tile],
) {
    let Place { values, columns, fresh } = place;
    let rows = values.len() / columns;
    let mut edge = [0.0; BLOCK * BLOCK];
    for column in (0..columns).step_by(BLOCK) {
        let panel = column / SIDE;
        let right = [right(panel), right(panel + 1)];
        for panel in (0..left_panels).step_by(2) {
            let left = [left(panel), left(panel + 1)];
            let row = panel * SIDE;
            let first = row * columns + column;
            if row + BLOCK <= rows && column + BLOCK <= columns {
                let mut results = Results::new(&mut values[first..], columns);
                unit.block(left, right, &mut results, fresh);
                continue;
            }
            // The block reaches over an edge of the results, and is computed beside them.
            let width = BLOCK.min(columns - column);
            let height = BLOCK.min(rows.saturating_sub(row));
            for (line, edge) in edge.chunks_exact_mut(BLOCK).take(height).enumerate() {
                edge[..width].copy_from_slice(&values[first + line * columns..][..width]);
            }
            unit.block(left, right, &mut Results::new(&mut edge, BLOCK), fresh);
            for (line, edge) in edge.chunks_exact(BLOCK).take(height).enumerate() {
                values[first + line * columns..][..width].copy_from_slice(&edge[..width]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
