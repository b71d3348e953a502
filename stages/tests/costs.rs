//! What an item costs, counted without a clock: the allocations and their bytes for a hop between two stages, for a video
//! on its way from the file into a batch, and for a step of training. A change that copies once more, or that allocates
//! where memory was used again, fails here on any machine.
//!
//! Each cost is that of the additional items of a longer run, so what a run costs once does not count. This file holds a
//! single test, because the allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "common/counting.rs"]
mod counting;

use std::path::Path;

use counting::{Allocated, allocated};
use framewise_pipeline::engine::{Pipeline, RunOptions, Status};
use framewise_pipeline::graph::{self, Override};
use framewise_pipeline::prelude::*;
use framewise_pipeline::testing::{GraphBuilder, items, stage_fn};
use framewise_stages::payload::Step;
use framewise_stages::registry;
use framewise_stages::synthetic::{SyntheticConfig, SyntheticVideos};
use framewise_stages::tfrecord::{Compression, RecordWriter, encode_frames};

/// A sink that drops batches.
struct Drop;

impl StageType for Drop {
    const NAME: &'static str = "drop";
    const DOC: &'static str = "Drops batches.";
    type Config = ();

    fn ports(_config: &()) -> Ports {
        Ports { inputs: vec![InputPort::of::<Step>("batches")], outputs: vec![] }
    }

    fn build(_config: (), wiring: &mut Wiring, _context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        let mut input: Input<Step> = wiring.input("batches")?;
        Ok(stage_fn(move || {
            while !matches!(input.recv()?, Packet::End) {}
            Ok(())
        }))
    }
}

/// What each additional item costs: (allocations, bytes).
fn each(items: usize, few: Allocated, many: Allocated) -> (f64, f64) {
    let per_item = |few: usize, many: usize| many.saturating_sub(few) as f64 / items as f64;
    (per_item(few.calls, many.calls), per_item(few.bytes, many.bytes))
}

fn run(text: &str, directory: &Path, set: &[String]) -> Allocated {
    let registry = registry().stage::<Drop>();
    let set: Vec<Override> = set.iter().map(|set| set.parse().unwrap()).collect();
    let loaded = graph::load_str(&directory.join("graph.toml"), text, &registry, &set);
    let graph = loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false))).graph;
    let pipeline = Pipeline::build(&graph, &registry, &RunOptions::default()).unwrap();
    allocated(|| assert!(matches!(pipeline.run().status, Status::Done)))
}

fn hop(count: u64) -> Allocated {
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", count);
    graph.sink("sink", |mut input: Input<framewise_pipeline::testing::Token>| {
        while input.recv()? != Packet::End {}
        Ok(())
    });
    graph.chain(&["source", "sink"], items(64));
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    allocated(|| assert!(matches!(pipeline.run().status, Status::Done)))
}

#[test]
fn an_item_costs_no_more_than_it_must() {
    let (calls, _) = each(200_000, hop(100_000), hop(300_000));
    println!("a hop: {calls:.4} allocations");
    // A wait may allocate, and so do the readings that are taken twenty times a second. An item does not.
    assert!(calls < 0.5, "{calls} allocations for a hop");

    let desk = tempfile::tempdir().unwrap();
    let file = desk.path().join("videos.tfrecord");
    let videos = 64;
    let world = SyntheticVideos::new(SyntheticConfig::default()).unwrap();
    let mut writer = RecordWriter::create(&file, Compression::None).unwrap();
    for index in 0..videos {
        writer.write(&encode_frames(&world.video(index))).unwrap();
    }
    writer.finish().unwrap();
    let bytes_of_a_record = std::fs::metadata(&file).unwrap().len() as f64 / videos as f64;
    let text = format!(
        "[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = [{file:?}]\n\
         [stages.decode]\ntype = \"yt8m_decode\"\nfrom = \"videos\"\n\
         [stages.batch]\ntype = \"batch\"\nfrom = \"decode\"\nsize = 16\n\
         [stages.drop]\ntype = \"drop\"\nfrom = \"batch\"\n"
    );
    let reading = |epochs: u64| run(&text, desk.path(), &[format!("stages.videos.epochs={epochs}")]);
    let (calls, bytes) = each(32 * videos as usize, reading(4), reading(36));
    let copies = bytes / bytes_of_a_record;
    println!("a video from the file into a batch: {calls:.1} allocations, {copies:.2} times its bytes");
    // The record, in which the frames of the video lie, and its part of the batch are two copies of the same bytes.
    assert!(copies < 2.1, "a video of {bytes_of_a_record} bytes takes {bytes} bytes on its way into a batch");
    assert!(calls < VIDEO_CALLS, "{calls} allocations for a video");

    let quickstart = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../graphs"));
    let text = std::fs::read_to_string(quickstart.join("quickstart.toml")).unwrap();
    let (training, _) = text.split_once("[stages.evaluate]").unwrap();
    let steps_of_an_epoch = 9;
    let steps = |epochs: u64| run(training, quickstart, &[format!("stages.videos.epochs={epochs}")]);
    let (calls, bytes) = each(20 * steps_of_an_epoch, steps(5), steps(25));
    println!("a step of the quickstart: {calls:.0} allocations, {bytes:.0} bytes");
    assert!(calls < STEP_CALLS && bytes < STEP_BYTES, "{calls} allocations of {bytes} bytes for a step");
}

/// The bounds of a step are a tenth above what was counted when they were set. A video took 21, and waits between its stages
/// and the readings that are taken meanwhile allocate, too. Raise the bounds only for a reason that is worth it.
const VIDEO_CALLS: f64 = 40.0;
const STEP_CALLS: f64 = 22_000.0;
const STEP_BYTES: f64 = 5_600_000.0;
