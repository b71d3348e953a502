//! The test kit: graphs in code, without TOML, for tests of the engine and of single stages.
//!
//! Law: nothing here relies on sleeping. A [`Sleeper`] sleeps because that is its work. A [`Gate`] says when a stage may continue, [`eventually`] waits for a state,
//! and [`within`] bounds the time for which a test may hang.

mod graph;
mod probes;
mod token;

pub use graph::{GraphBuilder, input, items, output, ports, stage_fn};
pub use probes::{Collected, Gate, Progress, Sleeper, eventually, stays, within};
pub use token::Token;
