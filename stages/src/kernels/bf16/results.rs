//! The place of a block of results.

use crate::kernels::tiles::tile::BLOCK;

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
