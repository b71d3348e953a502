//! Law: a training run that meets bad records, for however long, needs no more memory, threads and open
//! files than after its first minutes.
//!
//! The binary trains without an end. Every second, the test reads from /proc what the process holds. It reads the bytes
//! of the heap that are in use from the log that the feature `heap-log` adds. That count shows a leak of a few hundred
//! bytes in each evaluation within a minute. Resident memory does not. The allocator keeps pages for each thread, and
//! where blocks happen to lie makes tens of MiB resident for 1.5 MiB in use: 20 MiB in one run and 43 in the next, and
//! up to 14 MiB of difference within one run. The test therefore only asks that resident memory stays in that range.
//!
//! `FRAMEWISE_SOAK_SECONDS` sets the length of the run, 60 seconds by default. `FRAMEWISE_SOAK_LOG` names a file for
//! the samples.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::child::send;
use crate::support::cli::{Desk, graph};
use crate::support::run::root;
use crate::support::trial;

/// The growth of the heap that does not count as a leak. The fewest bytes in use that are seen in a second depend on
/// which second it was.
const HEAP_KIB: f64 = 64.0;

/// The growth of the address space that does not count as a leak: a thread's stack, or a file in memory.
const VIRTUAL_KIB: f64 = 16.0 * 1024.0;

/// The growth of resident memory that does not count as a leak, because of where blocks happen to lie (see above). In
/// the test, the allocator returns at once what is freed (MIMALLOC_PURGE_DELAY=0). As users run the program, the
/// allocator keeps it, and resident memory is the most that chance has brought together so far.
const RESIDENT_KIB: f64 = 24.0 * 1024.0;

/// A sample: what the process held at a moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    /// The fewest heap bytes in use within the second.
    heap_kib: f64,
    resident_kib: f64,
    virtual_kib: f64,
    threads: u64,
    files: u64,
    /// The number of lines of metrics.jsonl.
    lines: usize,
}

#[test]
#[ignore = "takes as long as FRAMEWISE_SOAK_SECONDS says"]
fn memory_threads_and_files_stay_where_they_are() {
    let seconds = std::env::var("FRAMEWISE_SOAK_SECONDS").map_or(60.0, |text| text.parse().unwrap());
    let desk = Desk::new();
    write_data(&desk);
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

    // The run ends in order: after the step in hand, and with a checkpoint.
    send(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", desk.read("err"));
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

/// Writes the data of [`trial`], and synthetic videos in addition.
fn write_data(desk: &Desk) {
    trial::write_graphs(desk, 1);
    let path = format!("stages.files.path={}", desk.path("part-3.tfrecord").display());
    let sizes = format!("use.data={}", root().join("configs/data/japanese-vowels.toml").display());
    let graph = graph("synthesize.toml");
    let mut args = vec!["run", "-q", &graph, "--run-dir", "synthesis"];
    // The videos are about as short as the real ones, because the memory of a step depends on its longest video.
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
        let Some(heap) = heap.last().map(|line| line.split(' ').next().unwrap().parse::<f64>().unwrap())
        else {
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

/// Counts the lines of a growing file, and reads only what is new.
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
        // The file may not be there yet.
        let Ok(mut file) = fs::File::open(self.path) else { return };
        let mut new = String::new();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        file.read_to_string(&mut new).unwrap();
        // The end of a line that is being written is counted next time.
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

/// Compares the last third of the samples with the first third, after the first quarter was left out. An evaluation or
/// a checkpoint in hand holds memory, threads and files for a while, so the most varies. The fewest that are seen may
/// not rise.
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
    // The run went on working to the end.
    let done = |part: &[Sample]| part[part.len() - 1].lines - part[0].lines;
    assert!(done(late) * 2 > done(early) && epochs > 2, "{text}");
}

fn median(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<_> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The slope of a line fitted by least squares, in KiB of heap a second.
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
