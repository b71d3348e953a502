//! The engine: it wires a resolved graph and runs it, with one thread for each stage.
//!
//! [`Pipeline::build`] makes the channels and the stages, and [`Pipeline::run`] makes the threads. An [`Outcome`] says
//! how the run ended.

mod build;
pub mod diagnosis;
mod history;
pub mod monitor;
mod options;
pub mod outcome;
mod pipeline;
pub mod probes;
mod publish;
pub mod reading;
mod remaining;
mod sampler;
pub mod stall;
mod totals;
pub mod trace;
pub mod units;
mod watchdog;
mod worker;

pub use history::history_bytes;
pub use options::RunOptions;
pub use outcome::{Outcome, RunError, Status};
pub use pipeline::Pipeline;
pub use totals::Earlier;
