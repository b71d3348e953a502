//! Running graphs in the test's own process, and the videos of the bundled data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use framewise_pipeline::engine::{Outcome, Pipeline, RunOptions, Status};
use framewise_pipeline::graph::{self, ResolvedGraph};
use framewise_stages::payload::Example;
use framewise_stages::registry;
use framewise_stages::tfrecord::{DecodeOptions, ReaderOptions, RecordReader, decode_frames};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The utterances of `tests/data/japanese_vowels/SPLIT.tfrecord`, decoded: 270 of `train`, 370 of `test`.
pub(crate) fn vowels(split: &str) -> Vec<Example> {
    let options =
        DecodeOptions { rgb_size: 12, audio_size: 12, classes: Some(9), ..DecodeOptions::default() };
    let path = root().join("tests/data/japanese_vowels").join(format!("{split}.tfrecord"));
    let mut reader = RecordReader::open(path, ReaderOptions::default()).unwrap();
    let records = std::iter::from_fn(|| reader.next());
    records.map(|record| decode_frames(&record.unwrap(), &options).unwrap()).collect()
}

/// Loads a graph of the repository with these `KEY=VALUE` overrides.
pub(crate) fn load(name: &str, overrides: &[String]) -> ResolvedGraph {
    load_path(&root().join("graphs").join(name), overrides)
}

pub(crate) fn load_path(path: &Path, overrides: &[String]) -> ResolvedGraph {
    let overrides: Vec<graph::Override> = overrides.iter().map(|o| o.parse().unwrap()).collect();
    match graph::load(path, &registry(), &overrides) {
        Ok(loaded) => loaded.graph,
        Err(errors) => panic!("{}", errors.render(false)),
    }
}

/// Runs a resolved graph to its end, whatever the end is.
pub(crate) fn run(graph: &ResolvedGraph, run_dir: &Path) -> Outcome {
    std::fs::create_dir_all(run_dir).unwrap();
    let options = RunOptions {
        run_dir: Some(run_dir.to_owned()),
        resolved_text: Arc::from(graph::render(graph)),
        ..RunOptions::default()
    };
    match Pipeline::build(graph, &registry(), &options) {
        Ok(pipeline) => pipeline.run(),
        Err(error) => panic!("{error}"),
    }
}

/// Runs a graph of the repository and expects it to succeed.
pub(crate) fn run_named(name: &str, overrides: &[String], run_dir: &Path) -> Outcome {
    let outcome = run(&load(name, overrides), run_dir);
    if let Status::Failed(error) = &outcome.status {
        panic!("{error}");
    }
    assert!(matches!(outcome.status, Status::Done));
    outcome
}

/// `KEY=VALUE` overrides from string slices.
pub(crate) fn set(overrides: &[&str]) -> Vec<String> {
    overrides.iter().map(|o| (*o).to_owned()).collect()
}

/// The names and bytes of the files of a run's newest checkpoint. The graph is left out, because tests vary its
/// settings on purpose, and so is the file with the graph's checksum.
pub(crate) fn checkpoint_bytes(run_dir: &Path) -> Vec<(String, Vec<u8>)> {
    let newest = framewise_stages::store::find(run_dir).unwrap().path;
    ["weights.safetensors", "moments.safetensors"]
        .map(|name| (name.to_owned(), std::fs::read(newest.join(name)).unwrap()))
        .to_vec()
}
