//! placeholder
pub mod model;
pub mod optim;
pub mod random;
