//! The result of a run as a person reads it.

use std::path::Path;

use super::result::{RunResult, StageResult};
use super::short;
use crate::terminal::printable;
use crate::text::{Align, count, number, percent, plural, rate, seconds, table, wrap};

/// Columns that a terminal is taken to have.
const WIDTH: usize = 100;

/// The table of stages, the limiting stage, the results, where they lie and, for a run that did not reach its end, the
/// command that goes on with it.
pub(crate) fn text(result: &RunResult, checkpoint: Option<&Path>, resume: Option<&str>) -> String {
    // A failed run is told in a few lines: the error comes last and must not be lost below a table.
    let mut out = if result.status == "failed" { String::new() } else { measured(result) };
    let verdict = match result.status {
        "ok" => "done",
        other => other,
    };
    out += &format!("{verdict} in {}", seconds(result.wall_seconds));
    if result.steps > 0 {
        out += &format!(", {}", plural(result.steps, "step"));
    }
    if result.examples > 0 {
        out += &format!(", {}", plural(result.examples, "example"));
    }
    out.push('\n');
    if let Some(path) = checkpoint {
        out += &format!("checkpoint     {}\n", short(path).display());
    }
    if let Some(run_dir) = &result.run_dir {
        out += &format!("run directory  {run_dir}\n");
    }
    if let Some(command) = resume {
        out += &format!("go on with     {command}\n");
    }
    printable(&out).into_owned()
}

/// The table, what was rejected, the limiting stage, the results.
fn measured(result: &RunResult) -> String {
    let mut out = format!("\n{}", stage_table(result));
    let rejecting: Vec<_> =
        result.stages.iter().filter(|stage| !stage.rejected.is_empty()).map(rejected).collect();
    if !rejecting.is_empty() {
        out += &format!("\n{}", rejecting.concat());
    }
    if let Some(limit) = &result.bottleneck {
        out += &format!("\nlimiting stage: {}\n", limit.stage);
        out += &wrap(&limit.why, WIDTH, 2);
        out += &wrap(&limit.advice, WIDTH, 2);
    }
    if !result.results.is_empty() {
        out += "\nresults\n";
        let rows: Vec<_> =
            result.results.iter().map(|(name, value)| vec![format!("  {name}"), number(*value)]).collect();
        out += &table(&[Align::Left, Align::Right], &rows);
    }
    out + "\n"
}

fn stage_table(result: &RunResult) -> String {
    let heads = ["stage", "type", "in", "out", "items/s", "MB/s", "busy", "waiting in", "waiting out"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(result.stages.iter().map(|stage| row(stage, result.wall_seconds)));
    let columns: Vec<_> = (0..heads.len()).map(|i| if i < 2 { Align::Left } else { Align::Right }).collect();
    table(&columns, &rows)
}

fn row(stage: &StageResult, wall_seconds: f64) -> Vec<String> {
    let bytes = stage.bytes_out.max(stage.bytes_in);
    let megabytes = if wall_seconds > 0.0 { bytes as f64 / 1e6 / wall_seconds } else { 0.0 };
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
    ]
}

fn rejected(stage: &StageResult) -> String {
    let total = stage.rejected.values().sum();
    let reasons: Vec<_> =
        stage.rejected.iter().map(|(reason, n)| format!("{reason} {}", count(*n))).collect();
    format!(
        "rejected by {}: {} ({}), see rejected.jsonl\n",
        stage.name,
        plural(total, "record"),
        reasons.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::sample;
    use super::*;

    #[test]
    fn the_text_names_everything() {
        let command = "framewise run g.toml --resume runs/g-1";
        let text = text(&sample(), Some(Path::new("runs/g-1/checkpoints/step-00000003")), Some(command));
        let expected = "
stage   type            in    out  items/s  MB/s  busy  waiting in  waiting out
videos  videos_type      0  1,234     12.5  0.49   25%         50%          25%
sink    sink_type    1,234      0     12.5  0.49   25%         50%          25%

rejected by videos: 2 records (data_crc 2), see rejected.jsonl
rejected by sink: 2 records (data_crc 2), see rejected.jsonl

limiting stage: sink
  why
  advice

results
  gap   0.300000
  loss       NaN

done in 2.50s, 3 steps, 1,234 examples
checkpoint     runs/g-1/checkpoints/step-00000003
run directory  runs/g-1
go on with     framewise run g.toml --resume runs/g-1
";
        assert_eq!(text, expected);
    }
}
