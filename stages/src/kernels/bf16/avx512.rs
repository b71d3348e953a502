//! The products of tiles by AVX512_BF16, and the plain form by FMA.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::plain;
use super::results::Results;
use crate::kernels::tiles::tile::{SIDE, Tile, WORDS};

/// A block of results, as [`plain::block`].
///
/// # Safety
/// The processor has AVX512F and AVX512_BF16, and the operating system keeps their registers.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn block(left: [&[Tile]; 2], right: [&[Tile]; 2], results: &mut Results, fresh: bool) {
    let stride = results.stride();
    let values = results.values().as_mut_ptr();
    for (i, left) in left.into_iter().enumerate() {
        for (j, right) in right.into_iter().enumerate() {
            // SAFETY: i, j < 2, so that the offset and the 16 rows of 16 numbers from there lie within the
            // 31 · stride + 32 values that `Results` was checked to have. Nobody else reads or writes them, because
            // `results` is borrowed exclusively.
            unsafe { tiles(left, right, values.add(i * SIDE * stride + j * SIDE), stride, fresh) };
        }
    }
}

/// The product of one panel of left tiles and one of right tiles.
///
/// # Safety
/// As [`block`], and for each `r` below 16 the 16 numbers from `results + r · stride` are readable and writable.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn tiles(left: &[Tile], right: &[Tile], results: *mut f32, stride: usize, fresh: bool) {
    let mut sums: [__m512; SIDE] = [_mm512_setzero_ps(); SIDE];
    if !fresh {
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `row` is below 16; the rest is this function's condition.
            *sums = unsafe { _mm512_loadu_ps(results.add(row * stride)) };
        }
    }
    for (left, right) in left.iter().zip(right) {
        for (pair, columns) in right.0.chunks_exact(SIDE).enumerate() {
            // SAFETY: `columns` are 16 u32, the 64 bytes that are read.
            let columns = unsafe { _mm512_loadu_si512(columns.as_ptr().cast::<__m512i>()) };
            for (row, sums) in sums.iter_mut().enumerate() {
                let pair = _mm512_set1_epi32(left.0[row * WORDS + pair].cast_signed());
                // SAFETY: every type is 64 bytes without invalid values.
                let (pair, columns) = unsafe {
                    (
                        std::mem::transmute::<__m512i, __m512bh>(pair),
                        std::mem::transmute::<__m512i, __m512bh>(columns),
                    )
                };
                *sums = _mm512_dpbf16_ps(*sums, pair, columns);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: `row` is below 16; the rest is this function's condition.
        unsafe { _mm512_storeu_ps(results.add(row * stride), *sums) };
    }
}

/// A block of results by [`plain::block`], compiled for a processor that multiplies and adds with one rounding.
///
/// # Safety
/// The processor has AVX2 and FMA, and the operating system keeps their registers.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn block_by_fma(
    left: [&[Tile]; 2],
    right: [&[Tile]; 2],
    results: &mut Results,
    fresh: bool,
) {
    plain::block(left, right, results, fresh);
}
