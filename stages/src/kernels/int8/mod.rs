//! Matrix products of bytes and of whole numbers of 8 bits, with exact sums.
//!
//! The right operand are weights, rounded column by column to whole numbers times a scale ([`weights`]). The left operand
//! are the codes 0 to 255 of features, or numbers that are rounded row by row to 16 bits ([`left`]). Both are packed into
//! [tiles](super::tiles) of bytes, and the widest instructions of the processor ([`unit`]) add up the products in 32 bits.
//! An operand of 16 bits is two planes of bytes, a high one and a low one, whose sums are joined ([`product`]).
//!
//! Law: a sum of products is exact, so a result is the same bits on every processor and with any number of threads.

mod left;
mod number;
mod plain;
mod product;
mod unit;
mod weights;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use left::Left;
pub(crate) use product::product;
pub(crate) use weights::{MAX_INPUTS, PackedWeights, Planes, WholeWeights};
