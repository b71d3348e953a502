//! The products of tiles in ordinary arithmetic.

use crate::kernels::tiles::tile::{SIDE, Tile, WORDS};

/// The sums of a block of results: 16 rows of 32 columns.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [[i32; 2 * SIDE]; SIDE]);

impl Sums {
    pub(super) const ZERO: Self = Self([[0; 2 * SIDE]; SIDE]);
}

/// Adds to `sums` the products of a panel of left tiles, which hold bytes 0 to 255, with two panels of right tiles, which
/// hold bytes −128 to 127. All three are equally long.
#[inline(always)]
pub(super) fn add(left: &[Tile], right: [&[Tile]; 2], sums: &mut Sums) {
    for (half, right) in right.into_iter().enumerate() {
        for (left, right) in left.iter().zip(right) {
            for (sums, left) in sums.0.iter_mut().zip(left.0.chunks_exact(WORDS)) {
                let sums = &mut sums[half * SIDE..(half + 1) * SIDE];
                for (left, right) in left.iter().zip(right.0.chunks_exact(SIDE)) {
                    for (sum, right) in sums.iter_mut().zip(right) {
                        let products = left.to_le_bytes().into_iter().zip(right.to_le_bytes());
                        *sum += products.map(|(a, b)| i32::from(a) * i32::from(b.cast_signed())).sum::<i32>();
                    }
                }
            }
        }
    }
}
