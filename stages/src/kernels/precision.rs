//! The choice of the numbers that products take as operands.

use framewise_pipeline::KeyWord;

use super::int8::Planes;

/// The numbers to which the operands of a product are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, KeyWord)]
pub enum Precision {
    /// Operands stay as they are. Sums are f32.
    #[default]
    F32,
    /// Operands of products are rounded to bf16, to the nearest, with ties to even. Sums are f32.
    Bf16,
    /// For evaluation: weights are whole numbers of 8 bits with a scale for each output, what they are multiplied with is
    /// bytes of features or numbers of 16 bits, and sums are exact. Frames are pooled in bf16.
    Int8,
    /// As [`Precision::Int8`], with weights of 16 bits in two planes of 8. Frames are pooled in f32.
    Int8x2,
}

impl Precision {
    /// Whether gradients are computed in this precision.
    pub fn trains(self) -> bool {
        self.planes().is_none()
    }

    /// The planes of the weights, where these are whole numbers.
    pub(crate) fn planes(self) -> Option<Planes> {
        match self {
            Self::F32 | Self::Bf16 => None,
            Self::Int8 => Some(Planes::One),
            Self::Int8x2 => Some(Planes::Two),
        }
    }
}
