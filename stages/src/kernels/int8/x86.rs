//! The products of tiles by AVX512_VNNI, and by AVX2.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi32,
    _mm256_slli_epi16, _mm256_srai_epi16, _mm256_storeu_si256, _mm512_dpbusd_epi32, _mm512_loadu_si512,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
};

use super::plain::Sums;
use crate::kernels::tiles::tile::{SIDE, Tile, WORDS};

/// The rows whose sums are kept in registers of 512 bits at a time: two for each row.
const ROWS: usize = 8;

/// [`super::plain::add`].
///
/// # Safety
/// The processor has AVX512F and AVX512_VNNI, and the operating system keeps their registers.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn add_by_vnni(left: &[Tile], right: [&[Tile]; 2], sums: &mut Sums) {
    let (blocks, _) = sums.0.as_chunks_mut::<ROWS>();
    for (block, results) in blocks.iter_mut().enumerate() {
        let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
        for (sums, results) in sums.iter_mut().zip(&*results) {
            // SAFETY: a row of results is 32 numbers of 4 bytes, the two times 64 bytes that are read.
            unsafe {
                sums[0] = _mm512_loadu_si512(results.as_ptr().cast::<__m512i>());
                sums[1] = _mm512_loadu_si512(results.as_ptr().add(SIDE).cast::<__m512i>());
            }
        }
        for ((left, first), second) in left.iter().zip(right[0]).zip(right[1]) {
            let (rows, _) = left.0[block * ROWS * WORDS..].as_chunks::<WORDS>();
            let Some(rows) = rows.first_chunk::<ROWS>() else { unreachable!("a tile has 16 rows") };
            let (first, _) = first.0.as_chunks::<SIDE>();
            let (second, _) = second.0.as_chunks::<SIDE>();
            for (word, (first, second)) in first.iter().zip(second).enumerate() {
                // SAFETY: both are 16 words, the 64 bytes that are read.
                let (first, second) = unsafe {
                    (
                        _mm512_loadu_si512(first.as_ptr().cast::<__m512i>()),
                        _mm512_loadu_si512(second.as_ptr().cast::<__m512i>()),
                    )
                };
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let group = _mm512_set1_epi32(row[word].cast_signed());
                    sums[0] = _mm512_dpbusd_epi32(sums[0], group, first);
                    sums[1] = _mm512_dpbusd_epi32(sums[1], group, second);
                }
            }
        }
        for (sums, results) in sums.iter().zip(results) {
            // SAFETY: a row of results is 32 numbers of 4 bytes, the two times 64 bytes that are written.
            unsafe {
                _mm512_storeu_si512(results.as_mut_ptr().cast::<__m512i>(), sums[0]);
                _mm512_storeu_si512(results.as_mut_ptr().add(SIDE).cast::<__m512i>(), sums[1]);
            }
        }
    }
}

/// The rows whose sums are kept in registers of 256 bits at a time: two for each row.
const NARROW_ROWS: usize = 4;

/// [`super::plain::add`]. The bytes at even places of their words and those at odd ones become numbers of 16 bits, whose
/// products are added up in pairs. Such a pair has at most 2 · 255 · 128, so nothing is lost.
///
/// # Safety
/// The processor has AVX2, and the operating system keeps its registers.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn add_by_avx2(left: &[Tile], right: [&[Tile]; 2], sums: &mut Sums) {
    const LANES: usize = 8;
    for (half, right) in right.into_iter().enumerate() {
        let (blocks, _) = sums.0.as_chunks_mut::<NARROW_ROWS>();
        for (block, results) in blocks.iter_mut().enumerate() {
            // SAFETY: columns `half · 16` to `half · 16 + 15` lie within the 32 of a row.
            let places = results.each_mut().map(|row| unsafe { row.as_mut_ptr().add(half * SIDE) });
            // SAFETY: from each of these places on there are 16 numbers of 4 bytes, the two times 32 bytes that are read.
            let mut sums = places.map(|place| unsafe {
                [
                    _mm256_loadu_si256(place.cast::<__m256i>()),
                    _mm256_loadu_si256(place.add(LANES).cast::<__m256i>()),
                ]
            });
            for (left, right) in left.iter().zip(right) {
                let (rows, _) = left.0[block * NARROW_ROWS * WORDS..].as_chunks::<WORDS>();
                for (word, columns) in right.0.as_chunks::<SIDE>().0.iter().enumerate() {
                    for part in 0..2 {
                        // SAFETY: `columns` are 16 words, and 8 of them are read from place 0 or 8.
                        let columns = unsafe {
                            _mm256_loadu_si256(columns.as_ptr().add(part * LANES).cast::<__m256i>())
                        };
                        let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(columns));
                        let odd = _mm256_srai_epi16::<8>(columns);
                        for (sums, row) in sums.iter_mut().zip(rows) {
                            let group = row[word];
                            let of_even = _mm256_set1_epi32((group & 0x00ff_00ff).cast_signed());
                            let of_odd = _mm256_set1_epi32((group >> 8 & 0x00ff_00ff).cast_signed());
                            let products = _mm256_add_epi32(
                                _mm256_madd_epi16(of_even, even),
                                _mm256_madd_epi16(of_odd, odd),
                            );
                            sums[part] = _mm256_add_epi32(sums[part], products);
                        }
                    }
                }
            }
            for (place, sums) in places.into_iter().zip(sums) {
                // SAFETY: as where they were read.
                unsafe {
                    _mm256_storeu_si256(place.cast::<__m256i>(), sums[0]);
                    _mm256_storeu_si256(place.add(LANES).cast::<__m256i>(), sums[1]);
                }
            }
        }
    }
}
