//! The result of a run as `--format json` prints it.
//!
//! Law: the keys, their order and their units are a contract; numbers keep every digit and what is no number is null.

use std::collections::BTreeMap;
use std::path::Path;

use framewise_pipeline::engine::{Outcome, Status};
use framewise_pipeline::meter::StageReading;
use framewise_pipeline::monitor::{Monitor, StageMonitor};
use serde::Serialize;

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct RunResult {
    pub(crate) graph: String,
    pub(crate) run_dir: Option<String>,
    /// `ok`, `interrupted` or `failed`.
    pub(crate) status: &'static str,
    pub(crate) steps: u64,
    pub(crate) examples: u64,
    pub(crate) wall_seconds: f64,
    pub(crate) results: BTreeMap<String, f64>,
    pub(crate) stages: Vec<StageResult>,
    pub(crate) bottleneck: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<RunFailure>,
}

/// What a stage did.
#[derive(Debug, Serialize)]
pub(crate) struct StageResult {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    pub(crate) workers: u64,
    pub(crate) items_in: u64,
    pub(crate) items_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Items sent, or received by a stage that sends none, per second of the run.
    pub(crate) items_per_second: f64,
    /// Shares of the stage's own time, 0 to 1; the three add up to 1.
    pub(crate) busy: f64,
    pub(crate) input_wait: f64,
    pub(crate) output_wait: f64,
    pub(crate) rejected: BTreeMap<String, u64>,
}

/// The stage that holds the others up.
#[derive(Debug, Serialize)]
pub(crate) struct Limit {
    pub(crate) stage: String,
    pub(crate) why: String,
    pub(crate) advice: String,
}

/// Why a run failed.
#[derive(Debug, Serialize)]
pub(crate) struct RunFailure {
    /// `None` where no stage is to blame.
    pub(crate) stage: Option<String>,
    pub(crate) message: String,
    pub(crate) exit_code: u8,
}

impl RunResult {
    /// The result of a run that ended, well or not.
    pub(crate) fn of(graph: &str, run_dir: &Path, outcome: &Outcome) -> Self {
        let mut results = outcome.results.clone();
        // Counts stand under keys of their own.
        let steps = results.remove("steps");
        let examples = results.remove("examples").or(results.get("videos").copied());
        let (status, error) = match &outcome.status {
            Status::Done => ("ok", None),
            Status::FinishedEarly | Status::Stopped => ("interrupted", None),
            Status::Failed(error) => ("failed", Some(error.into())),
        };
        let bottleneck = outcome.monitor.bottleneck();
        Self {
            graph: graph.to_owned(),
            run_dir: Some(run_dir.display().to_string()),
            status,
            steps: whole(steps),
            examples: whole(examples),
            wall_seconds: outcome.wall_seconds,
            results,
            stages: stages(&outcome.monitor, outcome.wall_seconds),
            bottleneck: bottleneck.map(|b| Limit { stage: b.stage, why: b.why, advice: b.advice }),
            error,
        }
    }

    /// The result of a run that could not begin.
    pub(crate) fn not_started(graph: &str, error: RunFailure) -> Self {
        Self {
            graph: graph.to_owned(),
            run_dir: None,
            status: "failed",
            steps: 0,
            examples: 0,
            wall_seconds: 0.0,
            results: BTreeMap::new(),
            stages: Vec::new(),
            bottleneck: None,
            error: Some(error),
        }
    }

    /// One JSON object and the end of its line. Floats keep every digit; NaN and infinity are null.
    pub(crate) fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("a struct of numbers, texts and maps keyed by text has a JSON form") + "\n"
    }
}

fn stages(monitor: &Monitor, wall_seconds: f64) -> Vec<StageResult> {
    let sends = |index: usize| monitor.edges().iter().any(|edge| edge.from == index);
    let stages = monitor.stages().iter().enumerate();
    stages
        .map(|(index, stage)| StageResult::of(stage, &stage.meter.read(), sends(index), wall_seconds))
        .collect()
}

impl StageResult {
    fn of(stage: &StageMonitor, reading: &StageReading, sends: bool, wall_seconds: f64) -> Self {
        let items = if sends { reading.items_out } else { reading.items_in };
        let wall = reading.wall();
        let share = |seconds: f64| if wall > 0.0 { seconds / wall } else { 0.0 };
        Self {
            name: stage.name.clone(),
            type_name: stage.type_name.clone(),
            workers: stage.workers,
            items_in: reading.items_in,
            items_out: reading.items_out,
            bytes_in: reading.bytes_in,
            bytes_out: reading.bytes_out,
            items_per_second: if wall_seconds > 0.0 { items as f64 / wall_seconds } else { 0.0 },
            busy: share(reading.busy),
            input_wait: share(reading.input_wait),
            output_wait: share(reading.output_wait),
            rejected: reading.rejected.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect(),
        }
    }
}

/// A count that travelled as a float. Counts are far below 2^53; what is no count is 0.
fn whole(value: Option<f64>) -> u64 {
    value.filter(|v| v.is_finite() && *v >= 0.0).map_or(0, |v| v.round() as u64)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A result with a stage of each sort.
    pub(crate) fn sample() -> RunResult {
        let stage = |name: &str, items_in, items_out| StageResult {
            name: name.into(),
            type_name: format!("{name}_type"),
            workers: 1,
            items_in,
            items_out,
            bytes_in: items_in * 1000,
            bytes_out: items_out * 1000,
            items_per_second: 12.5,
            busy: 0.25,
            input_wait: 0.5,
            output_wait: 0.25,
            rejected: BTreeMap::from([("data_crc".to_owned(), 2)]),
        };
        RunResult {
            graph: "g".into(),
            run_dir: Some("runs/g-1".into()),
            status: "ok",
            steps: 3,
            examples: 1234,
            wall_seconds: 2.5,
            results: BTreeMap::from([("gap".to_owned(), 0.1 + 0.2), ("loss".to_owned(), f64::NAN)]),
            stages: vec![stage("videos", 0, 1234), stage("sink", 1234, 0)],
            bottleneck: Some(Limit { stage: "sink".into(), why: "why".into(), advice: "advice".into() }),
            error: None,
        }
    }

    #[test]
    fn the_keys_stand_in_the_order_of_the_contract() {
        let text = sample().to_json();
        let keys = [
            "graph",
            "run_dir",
            "status",
            "steps",
            "examples",
            "wall_seconds",
            "results",
            "stages",
            "bottleneck",
        ];
        let places: Vec<_> = keys.iter().map(|key| text.find(&format!("\"{key}\"")).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        assert!(!text.contains("\"error\""));
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn floats_keep_every_digit_and_nan_is_null() {
        let value: serde_json::Value = serde_json::from_str(&sample().to_json()).unwrap();
        assert_eq!(value["results"]["gap"].as_f64(), Some(0.1 + 0.2));
        assert!(value["results"]["loss"].is_null());
        assert_eq!(value["stages"][0]["type"], "videos_type");
    }

    #[test]
    fn a_run_that_could_not_begin_has_every_key_too() {
        let error = RunFailure { stage: Some("videos".into()), message: "no file".into(), exit_code: 66 };
        let value: serde_json::Value =
            serde_json::from_str(&RunResult::not_started("g", error).to_json()).unwrap();
        assert_eq!(value["status"], "failed");
        assert!(value["run_dir"].is_null() && value["bottleneck"].is_null());
        assert_eq!(value["error"]["exit_code"], 66);
        assert_eq!(value["error"]["stage"], "videos");
    }

    #[test]
    fn counts_survive_the_detour_over_floats() {
        assert_eq!([whole(Some(3.0)), whole(None), whole(Some(f64::NAN)), whole(Some(-1.0))], [3, 0, 0, 0]);
    }
}
