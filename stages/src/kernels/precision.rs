//! The choice of the numbers that products take as operands.

use framewise_pipeline::KeyWord;

/// The numbers to which the operands of a product are rounded. Sums are f32 in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, KeyWord)]
pub enum Precision {
    /// Operands stay as they are.
    #[default]
    F32,
    /// Operands of products are rounded to bf16, to the nearest, with ties to even. Sums are formed in f32.
    Bf16,
}
