//! The files about a whole run that are written at its end: its result, its table of stages, and the curves of its stages.

use framewise_pipeline::Failure;
use framewise_pipeline::engine::{Outcome, Status};

use super::directory::RunDir;
use super::result::RunResult;
use super::{curves, stage_table};
use crate::observe::ranks::Board;
use crate::observe::view::RunView;

/// Writes the files, and returns what could not be written. The result is printed too, so a copy that cannot be written is no
/// reason to fail.
pub(crate) fn write(
    directory: &RunDir,
    result: &RunResult,
    outcome: &Outcome,
    ranks: Option<&Board>,
    trains: bool,
) -> Vec<Failure> {
    let mut written = vec![directory.write_results(&result.to_json())];
    // The shares of a failed run say little, because its stages were stopped half-way.
    if !matches!(outcome.status, Status::Failed(_)) {
        let monitor = &outcome.monitor;
        let view = RunView::of(monitor, &monitor.read()).with_ranks(ranks);
        written.push(stage_table::write(&view, directory.path()));
        if trains {
            written.push(curves::write(directory.path(), monitor));
        }
    }
    written.into_iter().filter_map(Result::err).collect()
}
