//! Time and peak memory of the metrics at the size of the YouTube-8M validation set: 1.1 million videos, 20 pairs
//! each.
//!
//! `cargo run --release -p framewise-stages --example bench_metrics [videos] [classes]`

use std::time::{Duration, Instant};

use framewise_stages::score::{Accumulator, ScoreError};

const BATCH: usize = 160;

fn main() -> Result<(), ScoreError> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let videos = arguments.next().and_then(Result::ok).unwrap_or(1_100_000);
    let classes = arguments.next().and_then(Result::ok).unwrap_or(3862);
    let mut scores = Accumulator::new(classes, 20)?;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut draw = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut predictions = vec![0f32; BATCH * classes];
    let mut adding = Duration::ZERO;
    let mut done = 0;
    while done < videos {
        let count = BATCH.min(videos - done);
        let rows = &mut predictions[..count * classes];
        rows.iter_mut().for_each(|score| *score = (draw() >> 40) as f32 / (1u64 << 24) as f32);
        let labels: Vec<Vec<u32>> =
            (0..count).map(|_| (0..3).map(|_| (draw() % classes as u64) as u32).collect()).collect();
        let started = Instant::now();
        scores.add(rows, &labels, &vec![1.5; count])?;
        adding += started.elapsed();
        done += count;
    }
    println!("{videos} videos of {classes} classes");
    println!(
        "add     {:8.2} s  ({:.0} videos/s), peak {} MB",
        adding.as_secs_f64(),
        videos as f64 / adding.as_secs_f64(),
        peak()
    );
    let started = Instant::now();
    let metrics = scores.finish();
    println!("finish  {:8.2} s, peak {} MB", started.elapsed().as_secs_f64(), peak());
    println!("{metrics:?}");
    Ok(())
}

/// Peak resident memory of this process in MB (Linux; "?" elsewhere).
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or_else(|| "?".to_owned(), |kib| (kib * 1024 / 1_000_000).to_string())
}
