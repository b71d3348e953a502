//! The part of the processor that multiplies tiles.

use std::sync::OnceLock;

use super::plain;
use super::results::Results;
use crate::kernels::tiles::tile::Tile;

/// A way to compute a block of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// AMX_BF16, which takes sums in the tile order.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx,
    /// AVX512_BF16. It takes sums in the pair order, as do all that follow.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Ordinary arithmetic by AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Fma,
    /// Ordinary arithmetic.
    Plain,
}

impl Unit {
    /// The fastest unit of this processor. It stays the same while the process runs.
    pub(super) fn best() -> Self {
        static BEST: OnceLock<Unit> = OnceLock::new();
        *BEST.get_or_init(|| Self::all()[0])
    }

    /// Every unit of this processor, the fastest first.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        // An interpreter of Rust's own intermediate code (Miri) has no such instructions.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            #[cfg(target_os = "linux")]
            if super::amx::available() {
                all.push(Self::Amx);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
                all.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self::Fma);
            }
        }
        all.push(Self::Plain);
        all
    }

    /// Computes a block of results: two panels of left tiles times two panels of right tiles, all four of one length,
    /// added to what stands in `results` unless the place is fresh.
    pub(super) fn block(self, left: [&[Tile]; 2], right: [&[Tile]; 2], results: &mut Results) {
        match self {
            // SAFETY: a unit is only made by `all`, which asked the processor and the operating system for it.
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx => unsafe { super::amx::block(left, right, results) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { super::avx512::block(left, right, results) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Fma => unsafe { super::avx512::block_by_fma(left, right, results) },
            Self::Plain => plain::block(left, right, results),
        }
    }
}
