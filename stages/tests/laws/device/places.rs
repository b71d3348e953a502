//! Law: 1, 2 and 4 devices of one kind give the same result, because devices only place the shards. Shards are part of
//! the mathematics.
//!
//! The quickstart is trained on the device under test, which several places may name.

use std::path::Path;
use std::sync::Arc;

use framewise_pipeline::engine::{Pipeline, RunOptions, Status};
use framewise_pipeline::graph::{self, Override};
use framewise_stages::{registry, store};

use crate::common::root;
use crate::device::name;

/// The stages of the quickstart that have devices.
const PLACED: [&str; 4] = ["forward", "all_reduce", "optimizer", "evaluate"];

/// What a training leaves behind: its weights and moments by their bytes, and its results.
type Left = (Vec<Vec<u8>>, String);

/// Trains the quickstart in so many places with these `KEY=VALUE` overrides.
fn trained(places: usize, overrides: &[&str], run_dir: &Path) -> Left {
    let devices = format!("{:?}", vec![name(); places]);
    let placed = PLACED.map(|stage| format!("stages.{stage}.devices={devices}"));
    let overrides = placed.iter().map(String::as_str).chain(overrides.iter().copied());
    let overrides: Vec<Override> = overrides.map(|text| text.parse().unwrap()).collect();
    let graph = match graph::load(&root().join("graphs/quickstart.toml"), &registry(), &overrides) {
        Ok(loaded) => loaded.graph,
        Err(errors) => panic!("{}", errors.render(false)),
    };
    std::fs::create_dir_all(run_dir).unwrap();
    let options = RunOptions {
        run_dir: Some(run_dir.to_owned()),
        resolved_text: Arc::from(graph::render(&graph)),
        ..RunOptions::default()
    };
    let outcome =
        Pipeline::build(&graph, &registry(), &options).unwrap_or_else(|error| panic!("{error}")).run();
    if let Status::Failed(error) = &outcome.status {
        panic!("{error}");
    }
    assert!(matches!(outcome.status, Status::Done));
    assert!(outcome.results.values().all(|value| value.is_finite()), "{:?}", outcome.results);
    let checkpoint = store::find(run_dir).unwrap().path;
    let files = ["weights.safetensors", "moments.safetensors"];
    (
        files.map(|file| std::fs::read(checkpoint.join(file)).unwrap()).to_vec(),
        format!("{:?}", outcome.results),
    )
}

#[test]
fn devices_only_place_the_work() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["stages.videos.epochs=2", "stages.evaluate.every_epochs=2", "stages.shard.shards=4"];
    let [one, two, four] =
        [1, 2, 4].map(|places| trained(places, &settings, &dir.path().join(places.to_string())));
    assert!(one == two, "two devices: the result differs from that of one");
    assert!(one == four, "four devices: the result differs from that of one");
}

/// This is the counterpart of the test above: if the number of shards changed nothing, that test would compare nothing.
#[test]
fn shards_are_part_of_the_mathematics() {
    let dir = tempfile::tempdir().unwrap();
    let [one, four] = [1, 4].map(|shards| {
        let shards = format!("stages.shard.shards={shards}");
        trained(1, &[&shards, "stages.batch.max_batches=3"], &dir.path().join(&shards)).0
    });
    assert!(one != four);
}
