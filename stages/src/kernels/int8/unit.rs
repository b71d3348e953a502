//! The part of the processor that multiplies tiles of bytes.

use std::sync::OnceLock;

use super::plain::{self, Sums};
use crate::kernels::tiles::tile::Tile;

/// A way to add up products. All ways give the same sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// AVX512_VNNI.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Ordinary arithmetic.
    Plain,
}

impl Unit {
    /// The fastest unit of this processor.
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
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                all.push(Self::Vnni);
            }
            if is_x86_feature_detected!("avx2") {
                all.push(Self::Avx2);
            }
        }
        all.push(Self::Plain);
        all
    }

    /// Adds the products of a panel of left tiles with two panels of right tiles to `sums`; all three are equally long.
    /// The caller sees to it that no sum leaves the 32 bits.
    pub(super) fn add(self, left: &[Tile], right: [&[Tile]; 2], sums: &mut Sums) {
        match self {
            // SAFETY: a unit is only made by `all`, which asked the processor and the operating system for it.
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => unsafe { super::x86::add_by_vnni(left, right, sums) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { super::x86::add_by_avx2(left, right, sums) },
            Self::Plain => plain::add(left, right, sums),
        }
    }
}
