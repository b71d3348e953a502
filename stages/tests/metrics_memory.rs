//! The metrics of YouTube-8M's whole validation set, 1.1 million videos with 20 pairs each, fit into 600 MB.
//!
//! This file holds a single test, because the allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "common/counting.rs"]
mod counting;

use counting::peak;
use framewise_stages::score::Accumulator;

const VIDEOS: usize = 1_100_000;
const PAIRS: usize = 20;
const BATCH: usize = 1000;
/// The number of classes. There are more of them than pairs that are kept of a video, so that keeping all would show.
/// There are few enough of them to draw 1.1 million rows quickly.
const CLASSES: usize = 64;

#[test]
fn metrics_of_the_validation_set_fit_in_600_mb() {
    let mut state = 1u32;
    let mut draw = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    // The caller owns what a batch brings, so it is drawn before anything is counted.
    let batches: Vec<(Vec<f32>, Vec<Vec<u32>>)> = (0..10)
        .map(|_| {
            let rows = (0..BATCH * CLASSES).map(|_| draw() as f32 / (1u32 << 24) as f32).collect();
            let labels = (0..BATCH).map(|_| (0..3).map(|_| draw() % CLASSES as u32).collect()).collect();
            (rows, labels)
        })
        .collect();
    let losses = vec![1.5; BATCH];
    // The two halves are merged, as those of two ranks would be.
    let mut halves = [(); 2].map(|()| Accumulator::new(CLASSES, PAIRS).unwrap());
    let mut merged = None;
    let adding = peak(|| {
        for batch in 0..VIDEOS / BATCH {
            let (rows, labels) = &batches[batch % batches.len()];
            halves[batch % 2].add(rows, labels, &losses).unwrap();
        }
        let [mut first, second] = halves;
        first.merge(second).unwrap();
        merged = Some(first);
    });
    let scores = merged.unwrap();
    let finishing = peak(|| assert_eq!(scores.finish().videos, VIDEOS as u64));

    // A pair takes 8 bytes, and as many again while the pairs are sorted. The slack is a quarter of a pair's 8 bytes.
    // Twice the memory would be 32 bytes a pair, or 704 MB.
    let pairs = VIDEOS * PAIRS;
    println!("{} MB for the pairs, {} MB more to finish", adding / 1_000_000, finishing / 1_000_000);
    assert!(adding <= 10 * pairs, "{adding} bytes for {pairs} pairs");
    assert!(finishing <= 10 * pairs, "{finishing} bytes to finish {pairs} pairs");
    assert!(adding + finishing <= 600_000_000, "{adding} + {finishing} bytes");
}
