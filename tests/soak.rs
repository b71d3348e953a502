//! Law: a training run that meets bad records and slow data for as long as one likes needs no more memory, threads and
//! open files than after its first minutes.
//!
//! The binary trains without an end. Every second the test reads what it holds from /proc, and the bytes of the heap that are
//! in use from the log that the feature `heap-log` adds: that count tells a leak of a few hundred bytes an evaluation in a
//! minute. Resident memory does not. The allocator keeps pages for each thread, and where blocks happen to lie makes
//! tens of MiB resident for 1.5 MiB in use: 20 in one run and 43 in the next, 14 more or less within one. So it is held to
//! stay in that range only.
//!
//! `FRAMEWISE_SOAK_SECONDS` says how long, 60 if not set; `FRAMEWISE_SOAK_LOG` names a file for the samples.
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

/// Some growth that is no leak: the fewest bytes in use that are seen in a second depend on which second it was.
const HEAP_KIB: f64 = 64.0;

/// Address space: a thread's stack, a file in memory.
const VIRTUAL_KIB: f64 = 16.0 * 1024.0;

/// Where blocks happen to lie, see above. The allocator returns what is freed at once (MIMALLOC_PURGE_DELAY=0); as users run
/// it, it keeps it, and resident is the most that chance has brought together so far.
const RESIDENT_KIB: f64 = 24.0 * 1024.0;

/// What the process held at a moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    /// The fewest within the second.
    heap_kib: f64,
    resident_kib: f64,
    virtual_kib: f64,
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
    command.env("MIMALLOC_PURGE_DELAY", "0").env("FRAMEWISE_HEAP_LOG", desk.path("heap"));
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
    let (metrics, heap) = (desk.path("run/metrics.jsonl"), desk.path("heap"));
    let mut log = std::env::var_os("FRAMEWISE_SOAK_LOG").map(|path| fs::File::create(path).unwrap());
    let start = Instant::now();
    let mut samples = Vec::new();
    let (mut lines, mut heap) = (Tail::of(&metrics), Tail::of(&heap));
    if let Some(log) = &mut log {
        let names = "seconds,heap_kib,resident_kib,virtual_kib,threads,open_files,metrics_lines";
        writeln!(log, "# process {}\n{names}", child.id()).unwrap();
    }
    while start.elapsed().as_secs_f64() < seconds {
        std::thread::sleep(Duration::from_secs(1));
        assert!(child.try_wait().unwrap().is_none(), "it ended: {}", desk.read("err"));
        let Some(heap) = heap.last().map(|line| line.parse::<f64>().unwrap()) else {
            assert!(samples.is_empty() && start.elapsed() < Duration::from_secs(30), "no log of the heap");
            continue;
        };
        let sample = Sample::of(child.id(), start.elapsed().as_secs_f64(), heap / 1024.0, lines.count());
        if let Some(log) = &mut log {
            let Sample { seconds, heap_kib, resident_kib, virtual_kib, threads, files, lines } = sample;
            writeln!(
                log,
                "{seconds:.1},{heap_kib:.1},{resident_kib},{virtual_kib},{threads},{files},{lines}"
            )
            .unwrap();
        }
        samples.push(sample);
    }
    samples
}

/// The lines of a growing file, reading what is new only.
struct Tail<'a> {
    path: &'a Path,
    read: u64,
    count: usize,
    last: String,
}

impl<'a> Tail<'a> {
    fn of(path: &'a Path) -> Self {
        Self { path, read: 0, count: 0, last: String::new() }
    }

    fn count(&mut self) -> usize {
        self.follow();
        self.count
    }

    fn last(&mut self) -> Option<&str> {
        self.follow();
        (self.count > 0).then_some(&*self.last)
    }

    fn follow(&mut self) {
        use std::io::{Read, Seek, SeekFrom};
        // It may not be there yet.
        let Ok(mut file) = fs::File::open(self.path) else { return };
        let mut new = String::new();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        file.read_to_string(&mut new).unwrap();
        // The end of a line that is being written comes next time.
        let whole = new.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        for line in new[..whole].lines() {
            self.count += 1;
            line.clone_into(&mut self.last);
        }
    }
}

impl Sample {
    fn of(process: u32, seconds: f64, heap_kib: f64, lines: usize) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() as u64;
        let (resident_kib, virtual_kib) = (number("VmRSS:") as f64, number("VmSize:") as f64);
        Self { seconds, heap_kib, resident_kib, virtual_kib, threads: number("Threads:"), files, lines }
    }
}

/// After the first quarter, the last third is held against the first. An evaluation or a checkpoint in hand has memory, threads
/// and files for a while, so that the most varies; the fewest that are seen may not rise.
fn judge(samples: &[Sample], steps: usize, epochs: usize) {
    let settled = &samples[samples.len() / 4..];
    let (early, late) = (&settled[..settled.len() / 3], &settled[settled.len() * 2 / 3..]);
    let seconds = samples[samples.len() - 1].seconds;
    let mut text = format!("soak: {seconds:.0} s, {steps} steps, {epochs} evaluations; early and late:");
    let mut grown = Vec::new();
    let mut hold = |name: &'static str, unit: f64, allowed: f64, values: [f64; 2]| {
        let [early, late] = values.map(|value| value / unit);
        write!(text, " {name} {early:.2} and {late:.2};").unwrap();
        if values[1] > values[0] + allowed {
            grown.push(name);
        }
    };
    let fewest =
        |of: fn(&Sample) -> f64| [early, late].map(|part| part.iter().map(of).fold(f64::MAX, f64::min));
    hold("fewest KiB of heap in use", 1.0, HEAP_KIB, fewest(|s| s.heap_kib));
    hold("fewest threads", 1.0, 0.0, fewest(|s| s.threads as f64));
    hold("fewest open files", 1.0, 0.0, fewest(|s| s.files as f64));
    hold("fewest MiB of address space", 1024.0, VIRTUAL_KIB, fewest(|s| s.virtual_kib));
    hold(
        "median MiB resident",
        1024.0,
        RESIDENT_KIB,
        [early, late].map(|part| median(part, |s| s.resident_kib)),
    );
    let slope = slope(settled) * 3600.0;
    writeln!(text, " heap {slope:+.1} KiB an hour by a line fitted").unwrap();
    io::stderr().write_all(text.as_bytes()).unwrap();

    assert!(grown.is_empty(), "{grown:?} grew\n{text}");
    // It went on working to the end.
    let done = |part: &[Sample]| part[part.len() - 1].lines - part[0].lines;
    assert!(done(late) * 2 > done(early) && epochs > 2, "{text}");
}

fn median(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<_> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Least squares, in KiB of heap a second.
fn slope(samples: &[Sample]) -> f64 {
    let n = samples.len() as f64;
    let (x, y) = samples.iter().fold((0.0, 0.0), |(x, y), s| (x + s.seconds / n, y + s.heap_kib / n));
    let (mut above, mut below) = (0.0, 0.0);
    for sample in samples {
        above += (sample.seconds - x) * (sample.heap_kib - y);
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
