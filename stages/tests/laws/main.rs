//! The laws of the stages' parts, one module each. Tests that count allocations have a binary of their own beside this
//! folder, since the allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "helpers of tests outside #[test] functions; a panic is the failure")]

#[path = "../common/mod.rs"]
mod common;

mod device;
mod import;
mod synthetic;

/// Tests of the models and the optimizer against the values of independent reference programs (`tests/data/golden`),
/// and against slower, plainer computations.
mod model {
    mod bf16;
    mod choices;
    mod determinism;
    mod differences;
    mod imported;
    mod int8;
    mod outputs;
    mod padding;
    mod parameters;
    mod saturation;
    mod size;
    pub(crate) mod support;
    mod trajectory;
    mod video_level;
}

/// Tests of record files, as they are written and read.
mod tfrecord {
    mod golden;
    mod oracle;
}
