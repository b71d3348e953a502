//! The stages of a training step: forward, loss, backward, all-reduce and the optimizer.

pub(crate) mod all_reduce;
pub(crate) mod backward;
pub(crate) mod eigenvalues;
pub(crate) mod forward;
mod init_from;
pub(crate) mod loss;
mod nonfinite;
pub(crate) mod optimizer;
mod pace;
mod partners;
mod traffic;
