//! Tiles: the blocks in which packed operands lie in memory.

/// Rows of a left tile, columns of a right tile: the numbers that a tile has besides those along which sums are taken.
pub(super) const SIDE: usize = 16;

/// Pairs of neighbours along the direction in which sums are taken, in one tile.
pub(super) const PAIRS: usize = 16;

/// Numbers along the direction in which sums are taken, in one tile.
pub(super) const DEPTH: usize = 2 * PAIRS;

/// The side of the block of results that is computed at a time: two left tiles times two right tiles.
pub(super) const BLOCK: usize = 2 * SIDE;

/// 16 × 32 bf16 of one operand, as pairs of neighbours along the direction in which sums are taken. The first number of
/// a pair is the lower half of its u32.
///
/// A left tile holds pair `p` of row `r` at `r · 16 + p`, a right tile holds pair `p` of column `c` at `p · 16 + c`.
/// Each is thus the transposed form of the other.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Tile(pub(super) [u32; SIDE * PAIRS]);

impl Tile {
    pub(super) const ZERO: Self = Self([0; SIDE * PAIRS]);

    /// Makes a right tile of a left one, or the other way round.
    #[inline(always)]
    pub(super) fn transpose(&self, target: &mut Self) {
        for (row, pairs) in self.0.chunks_exact(PAIRS).enumerate() {
            for (pair, value) in pairs.iter().enumerate() {
                target.0[pair * SIDE + row] = *value;
            }
        }
    }
}

/// A place for a block of results: `values[r · stride + c]` is row `r` and column `c`.
pub(super) struct Results<'a> {
    values: &'a mut [f32],
    stride: usize,
}

impl<'a> Results<'a> {
    /// A place for 32 × 32 results at the begin of `values`, whose rows are `stride` apart.
    ///
    /// # Panics
    /// If the rows overlap or the last row does not fit.
    pub(super) fn new(values: &'a mut [f32], stride: usize) -> Self {
        assert!(
            stride >= BLOCK && values.len() >= (BLOCK - 1) * stride + BLOCK,
            "room for a block of results"
        );
        Self { values, stride }
    }

    /// The distance of two rows, at least 32.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// All values, at least 31 · stride + 32.
    pub(super) fn values(&mut self) -> &mut [f32] {
        self.values
    }
}
