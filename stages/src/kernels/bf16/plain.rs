//! The products of tiles in ordinary arithmetic, in either order of the sums.

use super::results::Results;
use crate::kernels::tiles::tile::{BLOCK, SIDE, Tile, WORDS};

/// A number, or zero in its place where it lies below the smallest normal number.
#[inline(always)]
fn flush(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(value) } else { value }
}

/// The two numbers of a pair, first and second.
#[inline(always)]
fn numbers(pair: u32) -> (f32, f32) {
    (flush(f32::from_bits(pair << 16)), flush(f32::from_bits(pair & 0xffff_0000)))
}

/// `sum + a · b`, rounded once.
#[inline(always)]
fn add(sum: f32, a: f32, b: f32) -> f32 {
    flush(a.mul_add(b, sum))
}

/// Adds to `sums` [16, 16] the product of one left and one right tile, in some order.
type TileProduct = fn(&Tile, &Tile, &mut [[f32; SIDE]; SIDE]);

/// The product of two tiles in the pair order.
#[inline(always)]
fn pair_order(left: &Tile, right: &Tile, sums: &mut [[f32; SIDE]; SIDE]) {
    for (sums, left) in sums.iter_mut().zip(left.0.chunks_exact(WORDS)) {
        for (left, right) in left.iter().zip(right.0.chunks_exact(SIDE)) {
            let (first, second) = numbers(*left);
            for (sum, right) in sums.iter_mut().zip(right) {
                let right = numbers(*right);
                *sum = add(add(flush(*sum), second, right.1), first, right.0);
            }
        }
    }
}

/// The product of two tiles in the tile order.
#[cfg(test)]
fn tile_order(left: &Tile, right: &Tile, sums: &mut [[f32; SIDE]; SIDE]) {
    for (sums, left) in sums.iter_mut().zip(left.0.chunks_exact(WORDS)) {
        let (mut even, mut odd) = ([0.0; SIDE], [0.0; SIDE]);
        for (left, right) in left.iter().zip(right.0.chunks_exact(SIDE)) {
            let (first, second) = numbers(*left);
            for ((even, odd), right) in even.iter_mut().zip(&mut odd).zip(right) {
                let right = numbers(*right);
                *even = add(*even, first, right.0);
                *odd = add(*odd, second, right.1);
            }
        }
        for ((sum, even), odd) in sums.iter_mut().zip(even).zip(odd) {
            *sum = flush(flush(*sum) + flush(even + odd));
        }
    }
}

/// Computes a block of results: two panels of left tiles times two panels of right tiles, all four of one length, added
/// to what stands in `results` unless the place is fresh.
#[inline(always)]
fn block_by(product: TileProduct, left: [&[Tile]; 2], right: [&[Tile]; 2], results: &mut Results) {
    let stride = results.stride();
    for (i, left) in left.into_iter().enumerate() {
        for (j, right) in right.into_iter().enumerate() {
            let mut sums = [[0.0; SIDE]; SIDE];
            if !results.is_fresh() {
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (column, sum) in sums.iter_mut().enumerate() {
                        *sum = results.get(i * SIDE + row, j * SIDE + column);
                    }
                }
            }
            for (left, right) in left.iter().zip(right) {
                product(left, right, &mut sums);
            }
            let rows = results.values().chunks_mut(stride).skip(i * SIDE).take(SIDE);
            for (sums, row) in sums.iter().zip(rows) {
                for (place, sum) in row[j * SIDE..(j + 1) * SIDE].iter_mut().zip(sums) {
                    place.write(*sum);
                }
            }
        }
    }
}

/// A block of results in the pair order.
#[inline(always)]
pub(super) fn block(left: [&[Tile]; 2], right: [&[Tile]; 2], results: &mut Results) {
    const { assert!(BLOCK == 2 * SIDE) };
    block_by(pair_order, left, right, results);
}

/// A block of results in the tile order.
#[cfg(test)]
pub(super) fn block_in_tile_order(left: [&[Tile]; 2], right: [&[Tile]; 2], results: &mut Results) {
    block_by(tile_order, left, right, results);
}
