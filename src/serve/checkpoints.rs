//! The checkpoints of a run as data, for those who watch it.

use std::collections::BTreeMap;
use std::path::Path;

use framewise_stages::store::{self, Entry};
use serde::Serialize;

/// The number of the layout of [`CheckpointsView`]. It grows when a key changes its meaning or goes.
const VERSION: u32 = 1;

/// The complete checkpoints that are on disk.
#[derive(Debug, Serialize)]
pub(super) struct CheckpointsView {
    version: u32,
    /// The directory that holds them. `None` in a run that writes no checkpoints.
    directory: Option<String>,
    /// The checkpoints by their steps.
    checkpoints: Vec<CheckpointView>,
}

/// One checkpoint.
#[derive(Debug, Serialize)]
struct CheckpointView {
    step: u64,
    /// The name of its directory.
    name: String,
    /// Whether it is kept as the best.
    best: bool,
    /// The metrics that were measured of its weights.
    metrics: BTreeMap<String, f64>,
}

impl CheckpointsView {
    /// The checkpoints in `directory`. A directory that cannot be listed holds none that could be used.
    pub(super) fn of(directory: Option<&Path>) -> Self {
        let complete = |directory: &Path| {
            let best = store::marked_best(directory);
            let entries = store::list(directory).unwrap_or_default().into_iter().filter(Entry::is_complete);
            let view = |Entry { step, path, metrics, .. }: Entry| CheckpointView {
                step,
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                best: best == Some(step),
                metrics,
            };
            entries.map(view).collect()
        };
        Self {
            version: VERSION,
            directory: directory.map(|path| path.display().to_string()),
            checkpoints: directory.map_or_else(Vec::new, complete),
        }
    }

    /// The view as one JSON object.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of numbers and texts has a JSON form") + "\n"
    }
}
