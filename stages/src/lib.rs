//! placeholder

pub mod score;
pub mod store;
