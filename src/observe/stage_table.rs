//! The table of the stages of a reading, and the text about what limits the run.

use super::view::{LimitView, StageView};
use crate::table::{Column, fitted};
use crate::text::{count, percent, rate, wrap};

/// The columns. Where there is little room, those go first that say least about where the time went.
const COLUMNS: [Column; 10] = [
    Column::names("stage", 0),
    Column::names("type", 8),
    Column::numbers("in", 5),
    Column::numbers("out", 4),
    Column::numbers("items/s", 6),
    Column::numbers("MB/s", 7),
    Column::numbers("busy", 0),
    Column::numbers("waiting in", 1),
    Column::numbers("waiting out", 2),
    Column::numbers("ended", 3),
];

/// The table of a run that took `seconds` so far, in lines of at most `width` characters.
pub(crate) fn table(stages: &[StageView], seconds: f64, width: usize) -> String {
    let rows: Vec<_> = stages.iter().map(|stage| row(stage, seconds)).collect();
    fitted(&COLUMNS, &rows, width)
}

/// The limiting stage, the reason and the advice, after an empty line.
pub(crate) fn limit(limit: &LimitView, width: usize) -> String {
    let stage = limit.stage.as_deref().unwrap_or("cannot be told");
    format!("\nlimiting stage: {stage}\n{}{}", wrap(&limit.why, width, 2), wrap(&limit.advice, width, 2))
}

fn row(stage: &StageView, seconds: f64) -> Vec<String> {
    let bytes = stage.bytes_out.max(stage.bytes_in);
    let megabytes = if seconds > 0.0 { bytes as f64 / 1e6 / seconds } else { 0.0 };
    vec![
        stage.name.clone(),
        stage.type_name.clone(),
        count(stage.items_in),
        count(stage.items_out),
        rate(stage.items_per_second),
        rate(megabytes),
        percent(stage.busy),
        percent(stage.input_wait),
        percent(stage.output_wait),
        percent(stage.ended),
    ]
}
