//! The graph that an `evaluate` stage runs: the keys that name and change it, and how it is loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use framewise_pipeline::graph::{self, Diagnostics, ResolvedGraph};
use framewise_pipeline::prelude::*;
use framewise_pipeline::stage::config::KeyValue;
use framewise_pipeline::{InnerChange, InnerGraph, KeySpec};
use toml::Value;

use crate::io;

/// The keys of `evaluate`.
#[derive(Keys)]
pub(crate) struct Config {
    /// The graph to run. It needs a `load_weights` stage.
    #[key(required, free)]
    pub(super) graph: PathBuf,
    /// Runs at the end of every n-th epoch. With 0, it never runs by epochs.
    #[key(range = 0.., default = 1, unit = "epochs", free)]
    pub(super) every_epochs: u64,
    /// Runs after every n-th step. With 0, it never runs by steps.
    #[key(range = 0.., default = 0, unit = "steps", free)]
    pub(super) every_steps: u64,
    /// The files that the inner graph's `tfrecord_reader` reads, in place of those that it names.
    #[key(paths, free)]
    files: Option<Vec<String>>,
    /// The devices of the inner graph's stages, in place of those that it names.
    #[key(free)]
    devices: Option<Vec<String>>,
    #[key(flatten, map = KeySpec::takes_configs)]
    uses: Uses,
}

/// The key `use`.
#[derive(Keys)]
struct Uses {
    /// Configs, each as NAME=PATH, that replace those which `[use]` of the inner graph names. A name that the inner graph
    /// does not use has no effect. `--set use.NAME=PATH` of this graph is added to them. A relative path counts from the
    /// working directory.
    #[key(name = "use")]
    configs: Option<Vec<String>>,
}

impl Config {
    /// What is wrong with the entries of `use`, as pairs of key and message.
    pub(super) fn wrong_uses(&self) -> impl Iterator<Item = (&'static str, String)> {
        let uses = self.uses.configs.iter().flatten();
        let wrong = uses.filter(|text| text.split_once('=').is_none_or(|(name, _)| name.is_empty()));
        wrong.map(|text| ("use", format!("`{text}` is not of the form NAME=PATH")))
    }

    /// Whether the graph is ever run.
    pub(super) fn is_ever_due(&self) -> bool {
        self.every_epochs > 0 || self.every_steps > 0
    }
}

/// Refuses streams as input of the inner graph, because each evaluation reads its input again.
pub(super) fn refuse_streams(inner: &ResolvedGraph) -> Result<(), Failure> {
    for stage in inner.stages.iter().filter(|stage| stage.type_name == "tfrecord_reader") {
        let Some(files) = stage.settings.get("files").and_then(|files| files.as_array()) else { continue };
        let is_stream =
            |path: &&str| matches!(io::kind_and_length(Path::new(path)), Ok((io::Kind::Stream, _)));
        if let Some(path) = files.iter().filter_map(|file| file.as_str()).find(is_stream) {
            return Err(Failure::config(format!(
                "in the evaluation's graph: stage `{}`: {path} is a stream (a pipe or a device), which can be read only \
                 once, and each evaluation reads its input again: write what it sends to a file, and name that file",
                stage.name
            )));
        }
    }
    Ok(())
}

/// The inner graph with what this stage replaces and changes in it.
pub(super) fn inner_graph(config: &Config, registry: &Registry) -> InnerGraph {
    let inner =
        InnerGraph { key: "graph", path: config.graph.clone(), configs: uses(config), changes: Vec::new() };
    if config.files.is_none() && config.devices.is_none() {
        return inner;
    }
    // The graph itself shows which of its stages the changes are for. If it has mistakes, these are told without them.
    let loaded = graph::load_inner(&inner.path, registry, &inner.overrides());
    let changes = loaded.map_or_else(|_| Vec::new(), |loaded| changes(&loaded.graph, config));
    InnerGraph { changes, ..inner }
}

/// Loads and checks the inner graph with the stage types of the outer one.
pub(super) fn load(config: &Config, registry: &Registry) -> Result<ResolvedGraph, Diagnostics> {
    let inner = inner_graph(config, registry);
    graph::load_inner(&inner.path, registry, &inner.overrides()).map(|loaded| loaded.graph)
}

/// The configs of the inner graph that this stage's `use` replaces.
fn uses(config: &Config) -> Vec<(String, Value)> {
    let mut files = BTreeMap::<_, Vec<_>>::new();
    for (name, path) in config.uses.configs.iter().flatten().filter_map(|text| text.split_once('=')) {
        // A text in a graph may hold variables. This one does not any more.
        files.entry(name).or_default().push(path.replace("${", "$${"));
    }
    files.into_iter().map(|(name, files)| (name.to_owned(), files.to_value())).collect()
}

/// The keys of the inner graph that this stage's `files` and `devices` replace.
fn changes(inner: &ResolvedGraph, config: &Config) -> Vec<InnerChange> {
    let mut changes = Vec::new();
    for stage in &inner.stages {
        let keys = [
            ("files", &config.files, stage.type_name == "tfrecord_reader"),
            ("devices", &config.devices, stage.settings.get("devices").is_some()),
        ];
        for (key, value, applies) in keys {
            if let (true, Some(value)) = (applies, value) {
                let (stage, value) = (stage.name.clone(), value.to_value());
                changes.push(InnerChange { stage, key, value, by: key });
            }
        }
    }
    changes
}
