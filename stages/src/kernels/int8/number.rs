//! Bytes as parts of words.

use crate::kernels::tiles::{Form, Number};

/// Words of four bytes.
pub(super) struct Bytes;

impl Form for Bytes {
    const GROUP: usize = 4;
}

impl Number<Bytes> for u8 {
    #[inline(always)]
    fn bits<const PLACE: usize>(self) -> u32 {
        u32::from(self) << (8 * PLACE)
    }
}

impl Number<Bytes> for i8 {
    #[inline(always)]
    fn bits<const PLACE: usize>(self) -> u32 {
        u32::from(self.cast_unsigned()) << (8 * PLACE)
    }
}
