//! Where the checkpoints of a run are.

use std::path::{Path, PathBuf};

use framewise_pipeline::graph::ResolvedGraph;
use framewise_stages::store;

/// The newest checkpoint that this run wrote, if its graph writes any.
pub(crate) fn newest(graph: &ResolvedGraph, run_dir: &Path) -> Option<PathBuf> {
    let stage = graph.stages.iter().find(|stage| stage.type_name == "checkpoint")?;
    let directory = match stage.settings.text("path") {
        "" => run_dir.join("checkpoints"),
        path => PathBuf::from(path),
    };
    // None at all is no error: the run may have ended before the first.
    store::find(&directory).ok().map(|found| found.path)
}
