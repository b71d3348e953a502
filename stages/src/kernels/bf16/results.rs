//! The place of a block of results.

use std::mem::MaybeUninit;

use crate::kernels::tiles::tile::BLOCK;

/// A place for a block of results: `values[r · stride + c]` is row `r` and column `c`.
///
/// Law: the values of a place that is not fresh are numbers. Whoever computes a block writes numbers alone, to all columns
/// of the rows that are wanted at least.
pub(super) struct Results<'a> {
    values: &'a mut [MaybeUninit<f32>],
    stride: usize,
    rows: usize,
    fresh: bool,
}

impl<'a> Results<'a> {
    /// A place for 32 × 32 results at the begin of `values`, whose rows are `stride` apart, and to which nothing was written.
    ///
    /// # Panics
    /// If the rows overlap or the last row does not fit.
    pub(super) fn fresh(values: &'a mut [MaybeUninit<f32>], stride: usize) -> Self {
        Self::new(values, stride, true)
    }

    /// A place for 32 × 32 results at the begin of `values`, whose rows are `stride` apart. The results are added to what
    /// stands there.
    ///
    /// # Panics
    /// If the rows overlap or the last row does not fit.
    pub(super) fn begun(values: &'a mut [f32], stride: usize) -> Self {
        // SAFETY: a number may be seen as one that may lack a value, in the same memory. No block writes anything but
        // numbers, by the law of this type, so the values are numbers when the borrow ends.
        let values = unsafe { &mut *(std::ptr::from_mut(values) as *mut [MaybeUninit<f32>]) };
        Self::new(values, stride, false)
    }

    fn new(values: &'a mut [MaybeUninit<f32>], stride: usize, fresh: bool) -> Self {
        assert!(
            stride >= BLOCK && values.len() >= (BLOCK - 1) * stride + BLOCK,
            "room for a block of results"
        );
        Self { values, stride, rows: BLOCK, fresh }
    }

    /// The place where only the first `rows` rows are wanted. Whether the others are computed is left open.
    pub(super) fn first_rows(self, rows: usize) -> Self {
        Self { rows: rows.min(BLOCK), ..self }
    }

    /// The distance of two rows, at least 32.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// The number of rows that are wanted, at most 32.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only AVX512_BF16 leaves rows out"))]
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether nothing was written to the place yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The number at this place.
    ///
    /// # Panics
    /// If the place is fresh, or the number is not one of the block.
    pub(super) fn get(&self, row: usize, column: usize) -> f32 {
        assert!(!self.fresh && row < BLOCK && column < BLOCK, "a number of the block");
        // SAFETY: the place is not fresh, so its values are numbers.
        unsafe { self.values[row * self.stride + column].assume_init() }
    }

    /// All values, at least 31 · stride + 32.
    pub(super) fn values(&mut self) -> &mut [MaybeUninit<f32>] {
        self.values
    }
}
