//! `framewise runs`: a line for each run below a directory.

use std::path::Path;
use std::time::SystemTime;

use framewise_pipeline::Failure;
use framewise_stages::{io as files, read_failure};
use serde_json::{Value, json};

use super::past::Past;
use crate::cli::{Format, RunsArgs};
use crate::exit;
use crate::table::{Column, fitted};
use crate::terminal::{self, printable};
use crate::text::{bytes, count, number, wrap};
use framewise_stages::io::bytes_in;

/// The columns of the list. The name and the best result stay.
const COLUMNS: [Column; 8] = [
    Column::names("run", 0),
    Column::names("graph", 6),
    Column::names("status", 1),
    Column::numbers("steps", 4),
    Column::names("best", 0),
    Column::numbers("at step", 5),
    Column::names("last written", 2),
    Column::numbers("size", 3),
];

/// Lists the runs below a directory, the one that was written to last at the end.
///
/// # Errors
/// The directory cannot be listed. Standard output cannot be written.
pub(crate) fn runs(args: &RunsArgs) -> anyhow::Result<u8> {
    let (mut runs, mut others) = (Vec::new(), Vec::new());
    for path in below(&args.directory)? {
        match Past::read(&path) {
            Some(run) => runs.push(run),
            None => others.push(name_of(&path)),
        }
    }
    // The paths came in the order of their names, which stays among runs of the same time.
    runs.sort_by_key(|run| run.written);
    let text = match args.format {
        Format::Json => to_json(&runs, &others),
        Format::Text => {
            let width = terminal::width(&console::Term::stdout());
            printable(&to_text(&args.directory, &runs, &others, width)).into_owned()
        }
    };
    terminal::print(&text)?;
    Ok(exit::OK)
}

/// The directories in a directory. A directory `runs` that is not there holds no run.
fn below(directory: &Path) -> Result<Vec<std::path::PathBuf>, Failure> {
    match files::list(directory) {
        Ok(paths) => Ok(paths.into_iter().filter(|path| path.is_dir()).collect()),
        Err(error) => Err(read_failure(directory, &error)),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn to_text(directory: &Path, runs: &[Past], others: &[String], width: usize) -> String {
    let mut out = match runs.len() {
        0 => format!("no run lies in {}\n", directory.display()),
        _ => fitted(&COLUMNS, &runs.iter().map(row).collect::<Vec<_>>(), width),
    };
    if !others.is_empty() {
        let no_runs = match others.len() {
            1 => "1 directory".to_owned(),
            n => format!("{} directories", count(n as u64)),
        };
        out += &format!("\n{}", wrap(&format!("{no_runs} without a run: {}", others.join(", ")), width, 0));
    }
    out
}

fn row(run: &Past) -> Vec<String> {
    let unknown = || "?".to_owned();
    let best = run.best.as_ref();
    vec![
        name_of(&run.path),
        run.graph.clone().unwrap_or_else(unknown),
        run.status.name().to_owned(),
        run.steps.map_or_else(String::new, count),
        best.map_or_else(String::new, |best| format!("{} {}", best.metric, number(best.value))),
        best.and_then(|best| best.step).map_or_else(String::new, count),
        run.written.map_or_else(unknown, short_date),
        bytes(bytes_in(&run.path)),
    ]
}

/// A time without seconds, such as `2026-03-01 14:05Z`, in UTC.
fn short_date(time: SystemTime) -> String {
    let text = date(time);
    text.get(..16).map_or(text.clone(), |minutes| format!("{}Z", minutes.replace('T', " ")))
}

/// A time in the form of RFC 3339, in UTC.
pub(super) fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn to_json(runs: &[Past], others: &[String]) -> String {
    let run = |run: &Past| {
        json!({
            "name": name_of(&run.path),
            "path": run.path.display().to_string(),
            "graph": run.graph,
            "status": run.status.name(),
            "steps": run.steps,
            "examples": run.examples,
            "wall_seconds": run.wall_seconds,
            "framewise": run.version,
            "best": run.best,
            "results": run.results,
            "last_written": run.written.map(date),
            "bytes": bytes_in(&run.path),
        })
    };
    let runs: Vec<Value> = runs.iter().map(run).collect();
    format!("{:#}\n", json!({"runs": runs, "other_directories": others}))
}
