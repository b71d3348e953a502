//! Matrix products of bf16 operands with f32 sums.
//!
//! A bf16 is the upper half of an f32: its sign, its exponent and 8 bits of its significand. Both operands are rounded to
//! the nearest bf16 (ties to even, [`number`]) while they are packed into [tiles](super::tiles), and the product of two
//! tiles is taken by the widest instructions that the processor has ([`unit`]). The product of two bf16 is exact in f32
//! unless it underflows. What differs between processors is the order in which the products of one sum are added:
//!
//! - the **pair order** of AVX512_BF16 adds one product after the other, in each pair of neighbours the second one
//!   first. Every processor without AMX computes in this order, and gets the same bits;
//! - the **tile order** of AMX_BF16 adds up 32 neighbouring products in two sums, those at even and those at odd places,
//!   and then adds these two sums to the total.
//!
//! Both orders round each addition once, to the nearest f32, and take numbers below 2⁻¹²⁶ as zero. [`plain`] computes in
//! either order with ordinary arithmetic, and the tests hold the instructions to it bit by bit.
//!
//! Law: a result depends on the operands and on the order of the processor, never on the number of threads, because a sum
//! is taken by one thread from its first product to its last.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod number;
mod plain;
mod product;
mod results;
mod unit;

pub(crate) use number::Bf16;
pub(crate) use product::{product, product_once};
