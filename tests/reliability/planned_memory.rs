//! Law: the memory that `framewise plan` tells is what a run uses at its peak, within a quarter.

use serde_json::Value;

use crate::support::cli::{Desk, graph};

/// A training graph of a model of 9.5 million parameters on videos of full size.
const MIDDLE: &str = r#"
[graph]
seed = 1

[stages.videos]
type = "synthetic_videos"
videos = 200
epochs = 2

[stages.shuffle]
type = "shuffle"
from = "videos"
buffer = 64

[stages.batch]
type = "batch"
from = "shuffle"
size = 20

[stages.shard]
type = "shard"
from = "batch"

[stages.forward]
type = "nextvlad_forward"
from = { batches = "shard", weights = "optimizer.weights" }
clusters = 32
audio_clusters = 32
hidden = 512

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
clusters = 32
audio_clusters = 32
hidden = 512

[stages.report]
type = "report"
from = { predictions = "loss.predictions", states = "optimizer.states" }

[stages.checkpoint]
type = "checkpoint"
from = "optimizer.states"
every_steps = 4
"#;

/// The bytes that `plan` tells, and the most bytes of the heap that a run uses.
fn planned_and_used(args: &[&str]) -> (u64, u64) {
    let desk = Desk::new();
    desk.write("middle.toml", MIDDLE);
    let said = desk.framewise(&[&["plan", "--format", "json"], args].concat()).expect(0);
    let plan: Value = serde_json::from_str(&said.out).unwrap();
    let mut run = desk.command(&[&["run", "--no-progress", "--run-dir", "run"], args].concat());
    let said = run.env("FRAMEWISE_HEAP_LOG", desk.path("heap")).output().unwrap();
    crate::support::cli::Said::of(said).expect(0);
    let heap = desk.read("heap");
    let most = heap.lines().map(|line| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()).max();
    (plan["memory"]["bytes"].as_u64().unwrap(), most.unwrap())
}

#[track_caller]
fn assert_agrees((planned, used): (u64, u64)) {
    println!("planned {planned}, used {used}");
    assert!((0.75..=1.25).contains(&(planned as f64 / used as f64)), "planned {planned}, used {used}");
}

#[test]
fn the_quickstart_uses_what_was_planned() {
    assert_agrees(planned_and_used(&[&graph("quickstart.toml"), "--set", "stages.videos.epochs=60"]));
}

#[test]
fn a_model_of_middle_size_uses_what_was_planned() {
    assert_agrees(planned_and_used(&["middle.toml"]));
}
