//! The laws of Framewise, one module each, over the crates and the binary as users have them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod cli_support;
mod common;
mod resume_support;
mod trial;

mod capacity_and_workers;
mod cli_import;
mod cli_inspect;
mod cli_resume;
mod cli_run;
mod cli_signals;
mod cli_stages;
mod crash;
mod devices;
mod evaluation;
mod failure;
mod file_system_faults;
mod full_size;
mod golden_records;
mod graphs;
mod held_states;
mod init_from;
mod memory;
mod mistakes;
mod nonfinite;
mod plain_loop;
mod quickstart;
mod registry;
mod resume;
#[cfg(feature = "heap-log")]
mod soak;
mod stall;
mod video_level;
mod video_level_fit;
