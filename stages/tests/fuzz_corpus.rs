//! Every input in `fuzz/corpus` obeys the laws of which fuzzing looks for violations.
//!
//! This file holds a single test, because the allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "common/counting.rs"]
mod counting;
#[path = "../../fuzz/src/framing.rs"]
mod framing;
#[path = "../../fuzz/src/graph.rs"]
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
mod graph;
#[path = "../../fuzz/src/gzip.rs"]
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
mod gzip;
#[path = "../../fuzz/src/zstd.rs"]
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
mod packed_by_zstd;
#[path = "../../fuzz/src/payloads.rs"]
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
mod payloads;
#[path = "../../fuzz/src/records.rs"]
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
mod records;
#[path = "../../fuzz/src/weights.rs"]
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
mod weights;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn hold(name: &str, check: fn(&[u8])) {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut inputs = files(&root.join("fuzz/corpus").join(name));
    assert!(inputs.len() >= 10, "{name} has {} inputs", inputs.len());
    // Golden files and the repository's graphs are inputs too. They are larger than those of a corpus.
    inputs.extend(match name {
        "graph" => files(&root.join("graphs")),
        "weights" => files(&root.join("tests/data/golden/paddle")),
        _ => files(&root.join("tests/data/golden/tfrecord")),
    });
    for input in inputs {
        let data = std::fs::read(&input).unwrap();
        println!("{}", input.display());
        let started = Instant::now();
        check(&data);
        assert!(started.elapsed() < Duration::from_secs(10), "{}", input.display());
    }
}

#[test]
fn every_kept_input_obeys_the_laws() {
    // When this fails, the last name that was printed is the input that broke a law.
    hold("records", records::check);
    hold("gzip", gzip::check);
    hold("zstd", packed_by_zstd::check);
    hold("payloads", payloads::check);
    hold("graph", graph::check);
    hold("weights", weights::check);
}
