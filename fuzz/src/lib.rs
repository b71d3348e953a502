//! The fuzz targets: one module for each reader of foreign bytes.
//!
//! Laws: for any bytes, a reader does not panic, does not hang, and allocates no more than the bytes that are there
//! justify.
//!
//! The modules know nothing of libFuzzer. `stages/tests/fuzz_corpus.rs` asserts the same laws for every file of
//! `corpus/` in the ordinary test run.

#[path = "../../stages/tests/common/counting.rs"]
mod counting;

mod framing;
pub mod graph;
pub mod gzip;
pub mod payloads;
pub mod records;
pub mod weights;
pub mod zstd;
