//! The products of tiles by AVX512_BF16, and the plain form by FMA.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::plain;
use super::results::Results;
use crate::kernels::tiles::tile::{SIDE, Tile, WORDS};

/// The rows of results whose sums stay in registers at a time, with all columns of a block. Of 32 registers, the sums take
/// 16. Each load of a pair from the left then serves two instructions, so that the multiplications set the pace, and not the
/// loads.
const ROWS: usize = 8;

/// A block of results, as [`plain::block`].
///
/// # Safety
/// The processor has AVX512F and AVX512_BF16, and the operating system keeps their registers.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn block(left: [&[Tile]; 2], right: [&[Tile]; 2], results: &mut Results) {
    let (stride, wanted, fresh) = (results.stride(), results.rows(), results.is_fresh());
    let values = results.values().as_mut_ptr().cast::<f32>();
    for (i, left) in left.into_iter().enumerate() {
        for first in (0..SIDE).step_by(ROWS).take_while(|first| i * SIDE + first < wanted) {
            // SAFETY: i < 2 and first + 8 ≤ 16, so that the 8 rows of 32 numbers from there lie within the
            // 31 · stride + 32 values that `Results` was checked to have, and they are read only if they are numbers.
            // Nobody else reads or writes them, because `results` is borrowed exclusively.
            unsafe { rows(left, first, right, values.add((i * SIDE + first) * stride), stride, fresh) };
        }
    }
}

/// The product of the rows `first..first + 8` of one panel of left tiles and two panels of right tiles.
///
/// # Safety
/// As [`block`], and for each `r` below 8 the 32 numbers from `results + r · stride` are writable, and readable unless
/// `fresh`. `first` is at most 8.
#[target_feature(enable = "avx512f,avx512bf16")]
#[expect(clippy::needless_range_loop, reason = "a row is an index of two arrays and an offset in memory")]
unsafe fn rows(
    left: &[Tile],
    first: usize,
    right: [&[Tile]; 2],
    results: *mut f32,
    stride: usize,
    fresh: bool,
) {
    let mut sums: [[__m512; ROWS]; 2] = [[_mm512_setzero_ps(); ROWS]; 2];
    if !fresh {
        for row in 0..ROWS {
            // SAFETY: `row` is below 8; the rest is this function's condition.
            unsafe {
                sums[0][row] = _mm512_loadu_ps(results.add(row * stride));
                sums[1][row] = _mm512_loadu_ps(results.add(row * stride + SIDE));
            }
        }
    }
    for ((left, one), other) in left.iter().zip(right[0]).zip(right[1]) {
        for pair in 0..WORDS {
            // SAFETY: `pair` is below 16, so that the 16 u32 from `pair · 16` lie within a tile. Every type is 64 bytes
            // without invalid values.
            let columns: [__m512bh; 2] = unsafe {
                let load = [one, other].map(|tile| tile.0.as_ptr().add(pair * SIDE).cast::<__m512i>());
                [
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(load[0])),
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(load[1])),
                ]
            };
            for row in 0..ROWS {
                // SAFETY: `first + row` and `pair` are below 16. Every type is 64 bytes without invalid values.
                let pair: __m512bh = unsafe {
                    let word = *left.0.as_ptr().add((first + row) * WORDS + pair);
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(word.cast_signed()))
                };
                sums[0][row] = _mm512_dpbf16_ps(sums[0][row], pair, columns[0]);
                sums[1][row] = _mm512_dpbf16_ps(sums[1][row], pair, columns[1]);
            }
        }
    }
    for row in 0..ROWS {
        // SAFETY: `row` is below 8; the rest is this function's condition.
        unsafe {
            _mm512_storeu_ps(results.add(row * stride), sums[0][row]);
            _mm512_storeu_ps(results.add(row * stride + SIDE), sums[1][row]);
        }
    }
}

/// A block of results by [`plain::block`], compiled for a processor that multiplies and adds with one rounding.
///
/// # Safety
/// The processor has AVX2 and FMA, and the operating system keeps their registers.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn block_by_fma(left: [&[Tile]; 2], right: [&[Tile]; 2], results: &mut Results) {
    plain::block(left, right, results);
}
