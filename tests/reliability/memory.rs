//! Laws: `[graph] memory` bounds what a run holds, as seen from outside the process, and changes no result.
#![cfg(target_os = "linux")]

use std::process::Stdio;

use crate::support::cli::{Desk, Said};
use crate::support::run::{checkpoint_bytes, root, run_named, set};

#[test]
fn the_smallest_cap_gives_the_same_training_run() {
    let dir = tempfile::tempdir().unwrap();
    let results = ["off", "1B", "40KiB"].map(|memory| {
        let memory_set = format!("graph.memory={memory}");
        let overrides = [
            &memory_set,
            "stages.videos.epochs=3",
            "stages.evaluate.every_epochs=3",
            "stages.shard.shards=2",
        ];
        let run_dir = dir.path().join(memory);
        let outcome = run_named("quickstart.toml", &set(&overrides), &run_dir);
        assert_eq!(outcome.results["steps"], 27.0);
        assert_eq!(outcome.monitor.memory().is_some(), memory != "off");
        (checkpoint_bytes(&run_dir), format!("{:?}", outcome.results))
    });
    assert!(results.iter().all(|result| *result == results[0]), "the cap changes a result");
}

/// A graph that writes videos of full size.
const SYNTHESIZE: &str = r#"
[graph]
seed = 1

[stages.videos]
type = "synthetic_videos"
videos = 40

[stages.out]
type = "tfrecord_writer"
from = "videos"
path = "videos.tfrecord"
"#;

/// A graph that reads these videos over and over, which is quick, for a model that takes its time. It ends after a few
/// steps. The two edges take 300 MiB each.
const GRAPH: &str = r#"
[graph]
seed = 1

[use]
data = "DATA"
model = "MODEL"

[stages.videos]
type = "tfrecord_reader"
files = "source/videos.tfrecord"
epochs = 1000000
capacity = 65536
capacity_bytes = 314572800

[stages.decode]
type = "yt8m_decode"
from = "videos"
config = "data"
capacity = 65536
capacity_bytes = 314572800

[stages.batch]
type = "batch"
from = "decode"
size = 4
max_batches = 30

[stages.shard]
type = "shard"
from = "batch"
shards = 1

[stages.forward]
type = "nextvlad_forward"
from = { batches = "shard", weights = "optimizer.weights" }
config = ["data", "model"]

[stages.loss]
type = "loss"
from = "forward"

[stages.backward]
type = "backward"
from = "loss.losses"

[stages.all_reduce]
type = "all_reduce"
from = "backward"

[stages.optimizer]
type = "optimizer"
from = "all_reduce"
config = ["data", "model"]
"#;

/// The most memory that the process of a run held, in MiB.
fn peak(desk: &Desk, name: &str, more: &[&str]) -> u64 {
    let args = [&["run", "graph.toml", "--run-dir", name, "--no-progress"], more].concat();
    let mut command = desk.command(&args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let waiter = std::thread::spawn(move || Said::of(child.wait_with_output().unwrap()));
    let mut peak = 0;
    while !waiter.is_finished() {
        // This is the high-water mark. The last look is at most a few milliseconds before the end.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) / 1024);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let said = waiter.join().unwrap().expect(0);
    assert!(said.out.contains("30 steps"), "{}", said.out);
    peak
}

#[test]
fn a_slow_consumer_does_not_fill_the_memory() {
    const CAP: u64 = 64;
    const MARGIN: u64 = 64;
    let desk = Desk::new();
    desk.write("synthesize.toml", SYNTHESIZE);
    desk.framewise(&["run", "synthesize.toml", "--run-dir", "source"]).expect(0);
    let config = |name: &str| root().join("configs").join(name).display().to_string();
    let text = GRAPH.replace("DATA", &config("data/youtube8m.toml"));
    desk.write("graph.toml", &text.replace("MODEL", &config("model/nextvlad-small.toml")));
    // With one item an edge, this is what the model and the stages need by themselves.
    let least = peak(&desk, "least", &["--set", "graph.memory=1B"]);
    let capped = peak(&desk, "capped", &["--set", &format!("graph.memory={CAP}MiB")]);
    let free = peak(&desk, "free", &[]);
    println!("peak MiB: {least} with one item an edge, {capped} with {CAP} MiB, {free} without a cap");
    let bound = least + CAP + MARGIN;
    assert!(capped <= bound, "{capped} MiB, where {least} are needed and {CAP} allowed");
    assert!(free > bound, "{free} MiB: this consumer is not slow enough for the test to mean anything");
}
