//! What must hold for any bytes, one module for each reader of foreign bytes. The laws, for all of them: no panic, no
//! hang, and no allocation that the bytes which are there do not justify.
//!
//! The modules know nothing of libFuzzer: `stages/tests/fuzz_corpus.rs` holds the same laws to every file of `corpus/`
//! in the ordinary test run.

#[path = "../../stages/tests/common/counting.rs"]
mod counting;

pub mod graph;
pub mod gzip;
pub mod payloads;
pub mod records;
pub mod weights;
