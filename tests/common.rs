//! Runs graphs in the test's own process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use framewise_pipeline::engine::{Outcome, Pipeline, RunOptions, Status};
use framewise_pipeline::graph::{self, ResolvedGraph};
use framewise_stages::registry;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A graph of the repository, resolved with these `KEY=VALUE` overrides.
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

/// Runs a resolved graph to its end, whatever it is.
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

/// The bytes of the files that make up the newest checkpoint of a run: name and content, without the graph (whose
/// settings tests vary on purpose) and what checksums it.
pub(crate) fn checkpoint_bytes(run_dir: &Path) -> Vec<(String, Vec<u8>)> {
    let newest = framewise_stages::store::find(run_dir).unwrap().path;
    ["weights.safetensors", "moments.safetensors"]
        .map(|name| (name.to_owned(), std::fs::read(newest.join(name)).unwrap()))
        .to_vec()
}
