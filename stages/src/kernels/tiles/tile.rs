//! Tiles: the blocks in which packed operands lie in memory.

/// Rows of a left tile, columns of a right tile: the numbers that a tile has besides those along which sums are taken.
pub(crate) const SIDE: usize = 16;

/// Words along the direction in which sums are taken, in one tile.
pub(crate) const WORDS: usize = 16;

/// The side of the block of results that is computed at a time: two left tiles times two right tiles.
pub(crate) const BLOCK: usize = 2 * SIDE;

/// 16 × 16 words of one operand. A word is a group of neighbours along the direction in which sums are taken, and the
/// first number of a group is the lowest part of its word.
///
/// A left tile holds word `w` of row `r` at `r · 16 + w`, a right tile holds word `w` of column `c` at `w · 16 + c`. Each
/// is thus the transposed form of the other.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct Tile(pub(in crate::kernels) [u32; SIDE * WORDS]);

impl Tile {
    pub(crate) const ZERO: Self = Self([0; SIDE * WORDS]);

    /// Makes a right tile of a left one, or the other way round.
    #[inline(always)]
    pub(super) fn transpose(&self, target: &mut Self) {
        for (row, words) in self.0.chunks_exact(WORDS).enumerate() {
            for (word, value) in words.iter().enumerate() {
                target.0[word * SIDE + row] = *value;
            }
        }
    }
}
