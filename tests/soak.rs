//! Law: a training run that meets bad records and slow data for as long as one likes needs no more memory, threads and
//! open files than after its first minutes.
//!
//! The binary trains without an end; what it holds is read from /proc every second. The allocator returns what is freed at
//! once (MIMALLOC_PURGE_DELAY=0), so that resident is what is in use: by default a run keeps freed memory, and what is
//! resident is the most that chance has brought together so far. `FRAMEWISE_SOAK_SECONDS` says how long,
//! 60 if not set; `FRAMEWISE_SOAK_LOG` names a file for the samples.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cli_support::{Desk, graph};
use crate::common::root;
use crate::trial;

/// Growth that is no leak: batches in flight differ. Some 20 epochs a second pass, each with an evaluation: a leak of 4 KiB
/// in each shows within a minute.
const SETTLING_KIB: f64 = 4096.0;

/// What the process held at a moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    resident_kib: f64,
    threads: u64,
    files: u64,
    /// Lines of metrics.jsonl.
    lines: usize,
}

#[test]
#[ignore = "takes as long as FRAMEWISE_SOAK_SECONDS says"]
fn memory_threads_and_files_stay_where_they_are() {
    let seconds = std::env::var("FRAMEWISE_SOAK_SECONDS").map_or(60.0, |text| text.parse().unwrap());
    let desk = Desk::new();
    write_data(&desk);
    let slow = SlowFile::open(desk.path("part-1.tfrecord"));
    let mut command = desk.command(&["run", "-q", "train.toml", "--run-dir", "run"]);
    for change in [
        "stages.videos.epochs=1000000000",
        "stages.decode.workers=1",
        "stages.report.every_steps=5",
        "stages.checkpoint.every_steps=50",
    ] {
        command.args(["--set", change]);
    }
    let file = |name: &str| fs::File::create(desk.path(name)).unwrap();
    command.stdout(file("out")).stderr(file("err")).stdin(Stdio::null()).env("RAYON_NUM_THREADS", "1");
    command.env("MIMALLOC_PURGE_DELAY", "0");
    let mut child = command.spawn().unwrap();
    let samples = watch(&mut child, seconds, &desk);

    // The end, in order: after the step in hand, with a checkpoint.
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", desk.read("err"));
    slow.close();
    let run = desk.path("run");
    assert!(!trial::verified_checkpoints(&run).is_empty());
    assert_eq!(trial::leftovers(&run), [] as [&Path; 0]);
    trial::whole_lines(&run.join("log.jsonl"), false);
    let mut rejected: Vec<_> =
        trial::whole_lines(&run.join("rejected.jsonl"), false).iter().map(trial::lineage).collect();
    rejected.sort();
    let expected =
        trial::BAD.map(|(s, f, record, reason)| (s.to_owned(), f.to_owned(), record, reason.to_owned()));
    assert_eq!(rejected, expected, "over many epochs each bad record is told once");
    let lines = trial::whole_lines(&run.join("metrics.jsonl"), false);
    let steps =
        lines.iter().filter(|line| line["kind"] == "train").map(|line| line["step"].as_u64().unwrap());
    let steps: Vec<_> = steps.collect();
    assert_eq!(steps, (1..=steps.len() as u64).map(|n| 5 * n).collect::<Vec<_>>());
    let epochs = lines.iter().filter(|line| line["kind"] == "evaluation").count();
    judge(&samples, steps.len() * 5, epochs);
}

/// The data of [`trial`], and synthetic videos besides.
fn write_data(desk: &Desk) {
    trial::write_graphs(desk, 1);
    let path = format!("stages.files.path={}", desk.path("part-3.tfrecord").display());
    let sizes = format!("use.data={}", root().join("configs/data/japanese-vowels.toml").display());
    let graph = graph("synthesize.toml");
    let mut args = vec!["run", "-q", &graph, "--run-dir", "synthesis"];
    // About as short as the real ones: the memory of a step goes with its longest video.
    let short = ["stages.videos.min_frames=10", "stages.videos.max_frames=30"];
    for change in [&[&path, &sizes, "stages.videos.videos=60", "stages.files.shards=1"][..], &short].concat()
    {
        args.extend(["--set", change]);
    }
    desk.framewise(&args).expect(0);
}

fn watch(child: &mut std::process::Child, seconds: f64, desk: &Desk) -> Vec<Sample> {
    let metrics = desk.path("run/metrics.jsonl");
    let mut log = std::env::var_os("FRAMEWISE_SOAK_LOG").map(|path| fs::File::create(path).unwrap());
    let start = Instant::now();
    let mut samples = Vec::new();
    let mut lines = Lines::default();
    if let Some(log) = &mut log {
        writeln!(log, "# process {}\nseconds,resident_kib,threads,open_files,metrics_lines", child.id())
            .unwrap();
    }
    while start.elapsed().as_secs_f64() < seconds {
        std::thread::sleep(Duration::from_secs(1));
        assert!(child.try_wait().unwrap().is_none(), "it ended: {}", desk.read("err"));
        let sample = Sample::of(child.id(), start.elapsed().as_secs_f64(), lines.count(&metrics));
        if let Some(log) = &mut log {
            let Sample { seconds, resident_kib, threads, files, lines } = sample;
            writeln!(log, "{seconds:.1},{resident_kib},{threads},{files},{lines}").unwrap();
        }
        samples.push(sample);
    }
    samples
}

/// Counts the lines of a growing file, reading what is new only.
#[derive(Default)]
struct Lines {
    read: u64,
    count: usize,
}

impl Lines {
    fn count(&mut self, path: &Path) -> usize {
        use std::io::{Read, Seek, SeekFrom};
        if let Ok(mut file) = fs::File::open(path) {
            let mut new = Vec::new();
            file.seek(SeekFrom::Start(self.read)).unwrap();
            self.read += file.read_to_end(&mut new).unwrap() as u64;
            self.count += new.iter().filter(|byte| **byte == b'\n').count();
        }
        self.count
    }
}

impl Sample {
    fn of(process: u32, seconds: f64, lines: usize) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() as u64;
        Self { seconds, resident_kib: number("VmRSS:") as f64, threads: number("Threads:"), files, lines }
    }
}

/// Memory may not grow after the first quarter; the fewest threads and files that are seen may not rise.
fn judge(samples: &[Sample], steps: usize, epochs: usize) {
    let settled = &samples[samples.len() / 4..];
    let (early, late) = (&settled[..settled.len() / 3], &settled[settled.len() * 2 / 3..]);
    let window = settled[settled.len() - 1].seconds - settled[0].seconds;
    let slope = slope(settled);
    let mut text = String::new();
    writeln!(
        text,
        "soak: {:.0} s, {steps} steps, {epochs} evaluations; resident {:.1} MiB early, {:.1} MiB late, slope {:+.3} MiB an hour",
        samples[samples.len() - 1].seconds,
        median(early) / 1024.0,
        median(late) / 1024.0,
        slope * 3600.0 / 1024.0
    )
    .unwrap();
    let range = |of: fn(&Sample) -> u64, part: &[Sample]| {
        (part.iter().map(of).min().unwrap(), part.iter().map(of).max().unwrap())
    };
    let threads = [range(|s| s.threads, early), range(|s| s.threads, late)];
    let files = [range(|s| s.files, early), range(|s| s.files, late)];
    writeln!(text, "soak: threads {threads:?}, open files {files:?} (fewest, most; early, late)").unwrap();
    io::stderr().write_all(text.as_bytes()).unwrap();

    assert!(slope * window < SETTLING_KIB, "memory grows by {slope:.2} KiB a second\n{text}");
    assert!(median(late) - median(early) < SETTLING_KIB, "{text}");
    // An evaluation or a checkpoint in hand has some for a while, so that the most varies from sample to sample.
    for [early, late] in [threads, files] {
        assert!(late.0 <= early.0 && late.1 <= early.1 + (early.1 - early.0).max(4), "{text}");
    }
    // It went on working to the end.
    let done = |part: &[Sample]| part[part.len() - 1].lines - part[0].lines;
    assert!(done(late) * 2 > done(early) && epochs > 2, "{text}");
}

fn median(samples: &[Sample]) -> f64 {
    let mut values: Vec<_> = samples.iter().map(|sample| sample.resident_kib).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Least squares, in KiB a second.
fn slope(samples: &[Sample]) -> f64 {
    let n = samples.len() as f64;
    let (x, y) = samples.iter().fold((0.0, 0.0), |(x, y), s| (x + s.seconds / n, y + s.resident_kib / n));
    let (mut above, mut below) = (0.0, 0.0);
    for sample in samples {
        above += (sample.seconds - x) * (sample.resident_kib - y);
        below += (sample.seconds - x).powi(2);
    }
    above / below
}

/// A file that comes slowly: a pipe, fed by a thread with the bytes of the file that was there, again at each opening.
struct SlowFile {
    path: PathBuf,
    closing: Arc<AtomicBool>,
    feeder: JoinHandle<()>,
}

impl SlowFile {
    fn open(path: PathBuf) -> Self {
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        make_pipe(&path);
        let closing = Arc::new(AtomicBool::new(false));
        let feeder = std::thread::spawn({
            let (path, closing) = (path.clone(), closing.clone());
            move || feed(&path, &bytes, &closing)
        });
        Self { path, closing, feeder }
    }

    fn close(self) {
        self.closing.store(true, Ordering::Relaxed);
        // Lets a feeder go that waits for a reader; the pipe's own reader gets nothing more.
        let reader = fs::OpenOptions::new().read(true).write(true).open(&self.path).unwrap();
        self.feeder.join().unwrap();
        drop(reader);
    }
}

fn feed(path: &Path, bytes: &[u8], closing: &AtomicBool) {
    while !closing.load(Ordering::Relaxed) {
        // Waits for the reader of the next epoch.
        let Ok(mut pipe) = fs::OpenOptions::new().write(true).open(path) else { return };
        // Each opening has a pipe of its own: else bytes for the next reader might reach the last.
        let next = path.with_extension("next");
        make_pipe(&next);
        fs::rename(&next, path).unwrap();
        for chunk in bytes.chunks(4096) {
            // The run may have ended meanwhile.
            if closing.load(Ordering::Relaxed) || pipe.write_all(chunk).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}
