//! The result of a run, in the form in which a person reads it.
//!
//! Law: no line is wider than the terminal, except where a single word is. Tables leave columns out, and texts are
//! broken between words.

mod told;

use std::path::Path;

use console::measure_text_width;
use framewise_pipeline::graph::ResolvedGraph;

use super::result::{Checkpoints, RunResult};
use crate::observe::stage_table;
use crate::observe::trace::Extent;
use crate::shell::{self, short};
use crate::table::{Column, fitted};
use crate::terminal::printable;
use crate::text::{count, number, plural, seconds, wrap};

/// The width of the labels in front of paths and commands.
const LABELS: usize = 17;

/// A run that has ended.
pub(crate) struct Ended<'a> {
    pub(crate) result: &'a RunResult,
    pub(crate) graph: &'a ResolvedGraph,
    /// Whether the run continued from a checkpoint.
    pub(crate) resumed: bool,
    /// The words of the command that goes on with a run that did not reach its end.
    pub(crate) go_on: Option<&'a [String]>,
}

impl Ended<'_> {
    /// The table of stages, what was left out, the limiting stage, the results, and where they lie. For a run that did
    /// not reach its end, also the command that resumes it. Lines have at most `width` characters.
    pub(crate) fn text(&self, width: usize) -> String {
        let result = self.result;
        // The summary of a failed run has only a few lines, because the error comes last and must not be lost below a
        // table.
        let mut out = if result.status == "failed" { String::new() } else { self.measured(width) };
        let verdict = match result.status {
            "ok" => "done",
            other => other,
        };
        let mut line = format!("{verdict} in {}", seconds(result.wall_seconds));
        if result.steps > 0 {
            line += &format!(", {}", plural(result.steps, "step"));
        }
        if result.examples > 0 {
            line += &format!(", {}", plural(result.examples, "example"));
        }
        out += &wrap(&line, width, 0);
        if let Some(run_dir) = &result.run_dir {
            out += &labelled("run directory", std::slice::from_ref(run_dir), width);
        }
        out += &checkpoints(&result.checkpoints, width);
        if let Some(words) = self.go_on {
            let line = shell::command(words);
            let fits = LABELS + measure_text_width(&line) <= width;
            let lines = if fits { vec![line] } else { shell::lines(words, width.saturating_sub(2)) };
            out += &labelled("go on with", &lines, width);
        }
        printable(&out).into_owned()
    }

    /// The table of stages, what was left out, the limiting stage and the results.
    fn measured(&self, width: usize) -> String {
        let result = self.result;
        let mut out = format!("\n{}", stage_table::table(&result.stages, result.wall_seconds, width));
        let told = told::sentences(result, self.graph, self.resumed);
        if !told.is_empty() {
            out.push('\n');
            told.iter().for_each(|sentence| out += &hanging(sentence, width));
        }
        if let Some(limit) = &result.bottleneck {
            out += &stage_table::limit(limit, width);
        }
        if !result.results.is_empty() {
            out += "\nresults\n";
            let rows = result.results.iter().map(|(name, value)| vec![format!("  {name}"), number(*value)]);
            let columns = [Column::names("", 0), Column::numbers("", 0)];
            out += &fitted(&columns, &rows.collect::<Vec<_>>(), width);
        }
        out + "\n"
    }
}

/// The lines of the last and of the best checkpoint.
fn checkpoints(kept: &Checkpoints, width: usize) -> String {
    let mut out = String::new();
    if let Some(last) = &kept.last {
        out += &labelled("last checkpoint", &[shown(&last.path)], width);
    }
    if let Some(best) = &kept.best {
        let value = best.value.map_or_else(|| "n/a".to_owned(), number);
        let what = format!("step {}, {} {value}", count(best.step), best.metric);
        out += &labelled("best checkpoint", &[shown(&best.path), what], width);
    }
    out
}

/// The lines about the trace of the run.
pub(crate) fn trace(path: &str, extent: &Extent, width: usize) -> String {
    let path = shown(path);
    let mut out = labelled("trace", &[path, extent.words()], width);
    out += &extent.left_out().map_or(String::new(), |text| wrap(&text, width, 2));
    printable(&out).into_owned()
}

/// A path as a user would type it.
fn shown(path: &str) -> String {
    short(Path::new(path)).display().to_string()
}

/// A label with its lines beside it, or below it where there is too little room.
fn labelled(label: &str, lines: &[String], width: usize) -> String {
    let fits = lines.iter().all(|line| LABELS + measure_text_width(line) <= width);
    // A command of several lines is copied more easily without a label beside it.
    let fits = fits && !lines.iter().any(|line| line.ends_with('\\'));
    let mut out = String::new();
    if fits {
        for (place, line) in lines.iter().enumerate() {
            out += &format!("{:<LABELS$}{line}\n", if place == 0 { label } else { "" });
        }
    } else {
        out += &format!("{label}\n");
        lines.iter().for_each(|line| out += &format!("  {line}\n"));
    }
    out
}

/// A sentence whose second and further lines are indented.
fn hanging(sentence: &str, width: usize) -> String {
    let text = wrap(sentence, width, 2);
    text.strip_prefix("  ").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::sample;
    use super::*;

    fn graph() -> ResolvedGraph {
        ResolvedGraph {
            name: "g".into(),
            seed: 0,
            seed_given: true,
            stall_timeout: None,
            memory: None,
            stages: Vec::new(),
            edges: Vec::new(),
        }
    }

    fn text(width: usize) -> String {
        let go_on = ["framewise", "run", "g.toml", "--set", "graph.seed=7", "--resume", "runs/g-1"];
        let go_on = go_on.map(str::to_owned);
        let (result, graph) = (sample(), graph());
        Ended { result: &result, graph: &graph, resumed: false, go_on: Some(&go_on) }.text(width)
    }

    #[test]
    fn the_text_names_everything() {
        let expected = "
stage      in    out  items/s  MB/s  busy  waiting in  waiting out  ended
videos      0  1,234     12.5  0.49   25%         50%          12%    12%
sink    1,234      0     12.5  0.49   25%         50%          12%    12%

`videos` rejected 2 records (data_crc 2); rejected.jsonl names them
`sink` rejected 2 records (data_crc 2); rejected.jsonl names them

limiting stage: sink
  why
  advice

results
  gap   0.300000
  loss       n/a

done in 2.50s, 3 steps, 1,234 examples
run directory    runs/g-1
last checkpoint  runs/g-1/checkpoints/step-00000003
best checkpoint  runs/g-1/checkpoints/step-00000002
                 step 2, gap 0.500000
go on with       framewise run g.toml --set graph.seed=7 --resume runs/g-1
";
        assert_eq!(text(80), expected);
    }

    #[test]
    fn on_a_narrow_terminal_columns_are_left_out_and_nothing_is_cut() {
        let expected = "
stage   busy  waiting in  waiting out
videos   25%         50%          12%
sink     25%         50%          12%

`videos` rejected 2 records (data_crc
  2); rejected.jsonl names them
`sink` rejected 2 records (data_crc
  2); rejected.jsonl names them

limiting stage: sink
  why
  advice

results
  gap   0.300000
  loss       n/a

done in 2.50s, 3 steps, 1,234 examples
run directory    runs/g-1
last checkpoint
  runs/g-1/checkpoints/step-00000003
best checkpoint
  runs/g-1/checkpoints/step-00000002
  step 2, gap 0.500000
go on with
  framewise run g.toml \\
  --set graph.seed=7 --resume runs/g-1
";
        assert_eq!(text(40), expected);
        for width in 40..120 {
            assert!(
                text(width).lines().all(|line| line.chars().count() <= width),
                "{width}\n{}",
                text(width)
            );
        }
    }
}
