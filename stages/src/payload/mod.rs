//! What travels between the stages of a data pipeline, and where each piece came from.
//!
//! One law: a payload is a value. It owns its bytes, says how many they are, and carries its [`Origin`], so that
//! any later stage can name the file and record an error belongs to.

mod example;
mod record;

pub use example::{Example, VideoExample};
pub use record::{Origin, Record};
