//! A run of the past, as far as the files of its directory tell.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use framewise_stages::io::{self as files, Kind};
use framewise_stages::{lower_is_better, store};
use serde::Serialize;
use serde_json::Value;

use crate::run::{CHECKPOINTS, GRAPH, LOG, METRICS, RESULTS, is_locked};

/// The longest file that is read as a whole, in bytes. No file of a run that is read as a whole comes near it.
const LONGEST: u64 = 64 << 20;
/// The longest line of a log that is read, in bytes.
const LONGEST_LINE: u64 = 1 << 20;
/// The metrics by which runs are compared, the first one that a run has counts.
const COMPARED: [&str; 5] = ["gap", "hit_at_1", "perr", "map", "loss"];

/// What the directory of a run says.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) path: PathBuf,
    /// The name of the graph.
    pub(super) graph: Option<String>,
    /// The resolved graph.
    pub(super) resolved: Option<toml::Table>,
    pub(super) status: State,
    pub(super) steps: Option<u64>,
    pub(super) examples: Option<u64>,
    pub(super) wall_seconds: Option<f64>,
    /// The version of the program that ran.
    pub(super) version: Option<String>,
    /// The numbers that the run ended with.
    pub(super) results: BTreeMap<String, f64>,
    pub(super) best: Option<Best>,
    /// The time at which the run last wrote one of its files.
    pub(super) written: Option<SystemTime>,
}

/// How a run ended, or that it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    Interrupted,
    Failed,
    /// A process still runs there.
    Running,
    /// The process was killed before it could write how it ended.
    Killed,
}

/// The best result of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Best {
    pub(super) metric: String,
    pub(super) value: f64,
    /// The step after which it was measured, where that is known.
    pub(super) step: Option<u64>,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Interrupted => "interrupted",
            State::Failed => "failed",
            State::Running => "running",
            State::Killed => "killed",
        }
    }
}

impl Past {
    /// Reads the directory of a run. `None` if it is not one.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let [graph, log, metrics, results] = [GRAPH, LOG, METRICS, RESULTS].map(|name| path.join(name));
        if ![&graph, &log, &results].iter().any(|path| is_file(path)) {
            return None;
        }
        let resolved = text_of(&graph).and_then(|text| text.parse::<toml::Table>().ok());
        let ended = text_of(&results).and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let ended = ended.unwrap_or(Value::Null);
        let measured = Measured::read(&metrics, &wanted(resolved.as_ref()));
        let status = match ended["status"].as_str() {
            _ if is_locked(path) => State::Running,
            Some("ok") => State::Ok,
            Some("interrupted") => State::Interrupted,
            Some("failed") => State::Failed,
            // A version before this one wrote no result, and neither does a process that is killed.
            _ => state_in(&log),
        };
        let numbers = ended["results"].as_object().into_iter().flatten();
        let numbers: BTreeMap<String, f64> =
            numbers.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect();
        let checkpoint = newest_checkpoint(path);
        let steps = ended["steps"].as_u64().filter(|steps| *steps > 0).or(measured.last_step);
        let best = measured.best.or_else(|| {
            let (metric, value) = COMPARED.iter().find_map(|metric| numbers.get_key_value(*metric))?;
            Some(Best { metric: metric.clone(), value: *value, step: None })
        });
        let of_graph = |table: &toml::Table| table.get("graph")?.get("name")?.as_str().map(str::to_owned);
        Some(Self {
            path: path.to_owned(),
            graph: ended["graph"]
                .as_str()
                .map(str::to_owned)
                .or_else(|| resolved.as_ref().and_then(of_graph)),
            steps: steps.or(checkpoint.as_ref().map(|(step, _)| *step)),
            examples: ended["examples"].as_u64(),
            wall_seconds: ended["wall_seconds"].as_f64(),
            version: ended["framewise"]
                .as_str()
                .map(str::to_owned)
                .or(checkpoint.map(|(_, version)| version)),
            results: numbers,
            resolved,
            status,
            best,
            written: [graph, log, metrics, results].iter().filter_map(|path| written(path)).max(),
        })
    }
}

/// The metric by which the graph keeps its best checkpoint, with whether the lowest value is the best. If the graph
/// names none, every metric by which runs are compared.
fn wanted(resolved: Option<&toml::Table>) -> Vec<(String, bool)> {
    let stages = resolved.and_then(|table| table.get("stages")?.as_table());
    let checkpoint = stages.into_iter().flatten().find_map(|(_, stage)| {
        let stage = stage.as_table()?;
        (stage.get("type")?.as_str()? == "checkpoint").then_some(stage)
    });
    let own = checkpoint.and_then(|stage| {
        let metric = stage.get("best")?.as_str()?;
        let lowest = match stage.get("best_is").and_then(toml::Value::as_str) {
            Some(which) => which == "lowest",
            None => lower_is_better(metric) == Some(true),
        };
        Some(vec![(metric.to_owned(), lowest)])
    });
    let compared = |metric: &str| (metric.to_owned(), lower_is_better(metric) == Some(true));
    own.unwrap_or_else(|| COMPARED.map(compared).into())
}

/// What the log of metrics says.
#[derive(Default)]
struct Measured {
    last_step: Option<u64>,
    best: Option<Best>,
}

impl Measured {
    /// Reads the log line by line. `wanted` are the metrics, of which the first one that is there counts.
    fn read(path: &Path, wanted: &[(String, bool)]) -> Self {
        let mut measured = Self::default();
        // The best value of each metric that is wanted.
        let mut best: Vec<Option<Best>> = vec![None; wanted.len()];
        each_line(path, |line| {
            let Ok(line) = serde_json::from_str::<Value>(line) else { return };
            let step = line["step"].as_u64();
            measured.last_step = measured.last_step.max(step);
            if line["kind"] != "evaluation" {
                return;
            }
            for ((metric, lowest), best) in wanted.iter().zip(&mut best) {
                let Some(value) = line[metric.as_str()].as_f64() else { continue };
                let better = |held: &Best| if *lowest { value < held.value } else { value > held.value };
                if best.as_ref().is_none_or(better) {
                    *best = Some(Best { metric: metric.clone(), value, step });
                }
            }
        });
        measured.best = best.into_iter().flatten().next();
        measured
    }
}

/// How a run ended, by the last line of its log.
fn state_in(log: &Path) -> State {
    let mut last = Value::Null;
    each_line(log, |line| last = serde_json::from_str(line).unwrap_or(Value::Null));
    match (last["level"].as_str(), last["text"].as_str()) {
        (Some("error"), _) => State::Failed,
        (_, Some("done")) => State::Ok,
        (_, Some("finished early on request" | "stopped")) => State::Interrupted,
        (_, Some(text)) if text.starts_with("the newest checkpoint is ") => State::Interrupted,
        _ => State::Killed,
    }
}

/// The step of the newest checkpoint of a run, and the version that wrote it.
fn newest_checkpoint(path: &Path) -> Option<(u64, String)> {
    let checkpoint = store::describe(&path.join(CHECKPOINTS)).ok()?.checkpoint?;
    Some((checkpoint.step, checkpoint.framewise))
}

/// Whether there is a regular file. Nothing else is opened, because a FIFO would hold the program up.
fn is_file(path: &Path) -> bool {
    files::kind_and_length(path).is_ok_and(|(kind, _)| kind == Kind::File)
}

/// The text of a file of a sensible length.
fn text_of(path: &Path) -> Option<String> {
    let sensible = files::kind_and_length(path).is_ok_and(|(kind, n)| kind == Kind::File && n <= LONGEST);
    if sensible { files::read_to_string(path).ok() } else { None }
}

/// Calls `each` with every line of a file that is text.
fn each_line(path: &Path, mut each: impl FnMut(&str)) {
    if !is_file(path) {
        return;
    }
    let Ok(input) = files::open(path) else { return };
    let mut reader = BufReader::new(input.reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if let Ok(text) = std::str::from_utf8(&line) {
                    each(text);
                }
            }
        }
    }
}

fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?.modified().ok()
}
