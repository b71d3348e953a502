//! Rounding to bf16.

use crate::kernels::tiles::{Form, Number};

/// Words of two bf16.
pub(crate) struct Bf16;

impl Form for Bf16 {
    const GROUP: usize = 2;
}

/// A word that has the upper half of `bits` at this place.
#[inline(always)]
fn at<const PLACE: usize>(bits: u32) -> u32 {
    if PLACE == 0 { bits >> 16 } else { bits & 0xffff_0000 }
}

impl Number<Bf16> for f32 {
    /// Rounds to the nearest bf16, ties to even. A NaN stays a NaN.
    #[inline(always)]
    fn bits<const PLACE: usize>(self) -> u32 {
        let bits = self.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        at::<PLACE>(if self.is_nan() { bits | 0x0040_0000 } else { rounded })
    }
}

impl Number<Bf16> for u8 {
    /// The byte less 128, which a bf16 holds exactly.
    #[inline(always)]
    fn bits<const PLACE: usize>(self) -> u32 {
        at::<PLACE>((f32::from(self) - 128.0).to_bits())
    }
}
