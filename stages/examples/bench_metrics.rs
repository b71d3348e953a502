//! Measures the time and peak memory of the metrics at the size of the YouTube-8M validation set (1.1 million videos
//! with 20 pairs each), and how much threads help.
//!
//! `cargo run --release -p framewise-stages --example bench_metrics [videos] [classes]`

use std::time::{Duration, Instant};

use framewise_stages::score::{Accumulator, Metrics};

const BATCH: usize = 160;
/// The number of batches over which one thread and all threads are compared, in turns.
const COMPARED: usize = 200;
/// The number of times that `finish` is timed for each number of threads, in turns.
const REPEATS: usize = 5;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let videos = arguments.next().transpose()?.unwrap_or(1_100_000);
    let classes = arguments.next().transpose()?.unwrap_or(3862);
    let pools = [1, 0].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build());
    let [one, all] = pools;
    let (one, all) = (one?, all?);

    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let mut scores = Accumulator::new(classes, 20)?;
    let mut predictions = vec![0f32; BATCH * classes];
    let (mut adding, mut ratios, mut done) = (Duration::ZERO, Vec::new(), 0);
    while done < videos {
        let count = BATCH.min(videos - done);
        let rows = &mut predictions[..count * classes];
        let labels = draw.batch(rows, count, classes);
        let losses = vec![1.5; count];
        if ratios.len() < COMPARED {
            let time = |pool: &rayon::ThreadPool| -> Result<f64, Error> {
                let mut scratch = Accumulator::new(classes, 20)?;
                let started = Instant::now();
                pool.install(|| scratch.add(rows, &labels, &losses))?;
                Ok(started.elapsed().as_secs_f64())
            };
            ratios.push(time(&one)? / time(&all)?);
        }
        let started = Instant::now();
        all.install(|| scores.add(rows, &labels, &losses))?;
        adding += started.elapsed();
        done += count;
    }
    let threads = all.current_num_threads();
    println!("{videos} videos of {classes} classes, {threads} threads");
    println!(
        "add     {:8.2} s  ({:.0} videos/s), {:.2} times one thread's speed, peak {} MB",
        adding.as_secs_f64(),
        videos as f64 / adding.as_secs_f64(),
        median(&mut ratios),
        peak()
    );

    let finish = |pool: &rayon::ThreadPool| -> (f64, Metrics) {
        let started = Instant::now();
        let metrics = pool.install(|| scores.finish());
        (started.elapsed().as_secs_f64(), metrics)
    };
    let (mut times, mut ratios) = (Vec::new(), Vec::new());
    let mut metrics: Option<Metrics> = None;
    for _ in 0..REPEATS {
        let ((alone, first), (together, second)) = (finish(&one), finish(&all));
        if first != second || metrics.is_some_and(|metrics| metrics != first) {
            return Err(format!("threads changed the metrics: {first:?}, {second:?}").into());
        }
        metrics = Some(first);
        times.push(together);
        ratios.push(alone / together);
    }
    println!(
        "finish  {:8.2} s, {:.2} times one thread's speed, peak {} MB",
        median(&mut times),
        median(&mut ratios),
        peak()
    );
    println!("{:?}", scores.finish());
    Ok(())
}

/// The random generator xorshift64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Fills `rows` with scores, and returns three labels for each video.
    fn batch(&mut self, rows: &mut [f32], videos: usize, classes: usize) -> Vec<Vec<u32>> {
        rows.iter_mut().for_each(|score| *score = (self.next() >> 40) as f32 / (1u64 << 24) as f32);
        (0..videos).map(|_| (0..3).map(|_| (self.next() % classes as u64) as u32).collect()).collect()
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The peak resident memory of this process in MB, on Linux. "?" on other systems.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or_else(|| "?".to_owned(), |kib| (kib * 1024 / 1_000_000).to_string())
}
