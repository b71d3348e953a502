//! The table of stages in the run directory: the whole last reading in `stages.json`, and the shares of the stages as
//! the last line of `metrics.jsonl`.

use std::io::Write;
use std::path::Path;

use framewise_pipeline::Failure;
use framewise_stages::io as files;
use serde_json::{Map, json};

use super::directory::{METRICS, STAGES};
use crate::exit::cannot_write;
use crate::observe::view::RunView;

/// Writes both files.
///
/// # Errors
/// `CannotWrite`. The error names the file.
pub(crate) fn write(view: &RunView, run_dir: &Path) -> Result<(), Failure> {
    files::write_file(&run_dir.join(STAGES), view.to_json().as_bytes())?;
    let path = run_dir.join(METRICS);
    let stages = view.stages.iter().map(|stage| {
        let shares = json!({
            "items_per_second": stage.items_per_second,
            "busy": stage.busy,
            "input_wait": stage.input_wait,
            "output_wait": stage.output_wait,
            "ended": stage.ended,
        });
        (stage.name.clone(), shares)
    });
    // The line has no step, so a run that is resumed drops it and writes another at its own end.
    let line = json!({ "kind": "stages", "seconds": view.seconds, "stages": stages.collect::<Map<_, _>>() });
    let append = || files::append(&path)?.write_all(format!("{line}\n").as_bytes());
    append().map_err(|e| cannot_write(&path, &e))
}
