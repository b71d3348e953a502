//! What the programs of this folder share: their options, a batch, and how times are summed up.

#![allow(dead_code, reason = "no program uses everything")]

pub(crate) mod drop;

use std::time::Instant;

use candle_core::{Device, Result, Tensor};
use framewise_pipeline::KeyWord as _;
use framewise_stages::model::{DeviceBatch, Precision};

/// The allocator of the program that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The options of a program.
pub(crate) struct Options {
    /// Videos of a batch.
    pub(crate) batch: usize,
    /// The fewest and the most frames of a video.
    pub(crate) frames: [usize; 2],
    /// Timed runs after the first one.
    pub(crate) runs: usize,
    /// The only precision to measure.
    only: Option<Precision>,
}

impl Options {
    /// Reads the arguments. Ends the program with a message for one that it does not know.
    pub(crate) fn parse() -> Self {
        keep_memory();
        let mut options = Self { batch: 40, frames: [120, 300], runs: 5, only: None };
        // `cargo bench` adds `--bench`.
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let text = arguments.next().unwrap_or_default();
                text.parse().unwrap_or_else(|_| usage(&format!("{argument} `{text}`: not a number")))
            };
            match argument.as_str() {
                "--batch" => options.batch = number(),
                "--frames" => options.frames = [number(), number()],
                "--runs" => options.runs = number(),
                "--only" => {
                    let word = arguments.next().unwrap_or_default();
                    let known = Precision::ALL.iter().find(|precision| precision.word() == word);
                    let words = || usage(&format!("--only is one of {}", Precision::WORDS.join(", ")));
                    options.only = Some(*known.unwrap_or_else(words));
                }
                other => usage(&format!("unknown argument `{other}`")),
            }
        }
        options
    }

    /// The precisions to measure.
    pub(crate) fn precisions(&self) -> Vec<Precision> {
        match self.only {
            Some(only) => vec![only],
            None => Precision::ALL.to_vec(),
        }
    }
}

/// Starts the program again with the allocator's setting of `framewise` itself, which keeps freed memory. The allocator
/// reads it before the first line of a program runs.
pub(crate) fn keep_memory() {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;

        let name = "MIMALLOC_PURGE_DELAY";
        if let (None, Ok(program)) = (std::env::var_os(name), std::env::current_exe()) {
            let error =
                std::process::Command::new(program).args(std::env::args_os().skip(1)).env(name, "-1").exec();
            eprintln!("{name} could not be set: {error}");
            std::process::exit(71);
        }
    }
}

fn usage(problem: &str) -> ! {
    eprintln!("{problem}\narguments: --batch N, --frames LOW HIGH, --runs N, --only PRECISION");
    std::process::exit(64);
}

/// A batch of the full size with bytes and labels that look random, and the labels [B, 3862].
pub(crate) fn batch(options: &Options) -> Result<(DeviceBatch, Tensor)> {
    let [low, high] = options.frames;
    let lengths: Vec<usize> = (0..options.batch).map(|video| low + video * 7919 % (high - low + 1)).collect();
    let frames: usize = lengths.iter().sum();
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut rows = |size: usize| {
        let bytes: Vec<u8> = (0..frames * size).map(|_| next()).collect();
        Tensor::from_vec(bytes, (frames, size), &Device::Cpu)
    };
    let (rgb, audio) = (rows(1024)?, rows(128)?);
    let label = |i: usize| if (i * 7919).is_multiple_of(1009) { 1f32 } else { 0.0 };
    let labels: Vec<f32> = (0..options.batch * 3862).map(label).collect();
    let labels = Tensor::from_vec(labels, (options.batch, 3862), &Device::Cpu)?;
    Ok((DeviceBatch { rgb, audio, lengths }, labels))
}

/// The times of the runs of one precision.
#[derive(Default)]
pub(crate) struct Summary {
    seconds: Vec<f64>,
}

impl Summary {
    /// Runs `body` and keeps its time.
    pub(crate) fn time<T>(&mut self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let made = body()?;
        self.seconds.push(start.elapsed().as_secs_f64());
        Ok(made)
    }

    /// Prints one JSON line: the first run, and the median and the fastest of all others.
    pub(crate) fn print(&self, mode: &str, options: &Options, precision: Precision) {
        let Some((first, rest)) = self.seconds.split_first() else { return };
        let mut rest = rest.to_vec();
        rest.sort_by(f64::total_cmp);
        let median = rest.get(rest.len() / 2).copied().unwrap_or(*first);
        let line = serde_json::json!({
            "program": "framewise",
            "mode": mode,
            "precision": precision.word(),
            "batch": options.batch,
            "frames": options.frames,
            "threads": std::thread::available_parallelism().map_or(0, usize::from),
            "seconds": median,
            "fastest_seconds": rest.first().unwrap_or(first),
            "first_seconds": first,
            "videos_per_second": options.batch as f64 / median,
            "peak_rss_gb": peak_gigabytes(),
        });
        println!("{line}");
    }
}

/// The peak of the resident memory so far, as Linux tells it. `None` on other systems.
fn peak_gigabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1e6)
}
