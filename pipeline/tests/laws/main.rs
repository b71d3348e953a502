//! The laws of the engine, one module each.

#![allow(clippy::unwrap_used, reason = "a test may stop where its assumption fails")]

mod backpressure;
mod determinism;
mod diagnosis;
mod early_end;
mod end_and_failure;
mod loops;
mod marks;
mod memory;
mod meters;
mod probes;
mod ranks;
mod scale;
mod stall;
mod stop;
mod trace;
