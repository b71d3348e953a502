//! Operands of matrix products, packed for the instructions that multiply them.
//!
//! An operand is cut into tiles ([`tile`]) of 16 × 16 words. A word holds numbers that are neighbours along the direction
//! in which sums are taken: two bf16, or four bytes. A [`Form`] says which, and how numbers become part of a word; [`pack`]
//! makes tiles of matrices. What is computed of tiles is not known here.

pub(crate) mod pack;
pub(crate) mod tile;

pub(crate) use pack::{Form, Matrix, Number, Right};
