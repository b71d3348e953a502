//! The result of a run, in the form in which `--format json` prints it.
//!
//! Laws: the keys, their order and their units are a contract. Numbers keep every digit, and what is not a number is
//! null.

use std::collections::BTreeMap;
use std::path::Path;

use framewise_pipeline::engine::{Outcome, RunError, Status};
use framewise_stages::store::Entry;
use serde::Serialize;

use super::checkpoints::Kept;
use crate::job::Rank;
use crate::observe::view::{self, LimitView, StageView};
use crate::problems::Problems;
use crate::text;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct RunResult {
    pub(crate) graph: String,
    pub(crate) run_dir: Option<String>,
    /// The number of the process and how many there are, if it is one of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rank: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ranks: Option<usize>,
    /// `ok`, `interrupted` or `failed`.
    pub(crate) status: &'static str,
    pub(crate) steps: u64,
    pub(crate) examples: u64,
    pub(crate) wall_seconds: f64,
    pub(crate) results: BTreeMap<String, f64>,
    pub(crate) stages: Vec<StageView>,
    pub(crate) bottleneck: Option<LimitView>,
    pub(crate) checkpoints: Checkpoints,
    /// The version of the program.
    pub(crate) framewise: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<RunFailure>,
}

/// The checkpoints that the run left, each null where there is none.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Checkpoints {
    pub(crate) last: Option<LastCheckpoint>,
    pub(crate) best: Option<BestCheckpoint>,
}

/// The newest checkpoint.
#[derive(Debug, Serialize)]
pub(crate) struct LastCheckpoint {
    pub(crate) path: String,
    pub(crate) step: u64,
}

/// The checkpoint with the best value of the metric by which the graph keeps one.
#[derive(Debug, Serialize)]
pub(crate) struct BestCheckpoint {
    pub(crate) path: String,
    pub(crate) step: u64,
    pub(crate) metric: String,
    /// The value of the metric. Null where the checkpoint does not tell it.
    pub(crate) value: Option<f64>,
}

impl Checkpoints {
    /// The checkpoints for programs.
    pub(crate) fn of(kept: &Kept) -> Self {
        let path = |entry: &Entry| entry.path.display().to_string();
        let last = kept.last.as_ref().map(|entry| LastCheckpoint { path: path(entry), step: entry.step });
        let best = kept.best.as_ref().map(|(entry, metric)| BestCheckpoint {
            path: path(entry),
            step: entry.step,
            metric: metric.clone(),
            value: entry.metrics.get(metric).copied(),
        });
        Self { last, best }
    }
}

/// The reason why a run failed.
#[derive(Debug, Serialize)]
pub(crate) struct RunFailure {
    /// The stage that failed. `None` where no stage is to blame.
    pub(crate) stage: Option<String>,
    /// The first error, in one line.
    pub(crate) message: String,
    pub(crate) exit_code: u8,
    /// All errors with their places, and the warnings, in the form in which `check` prints them.
    #[serde(flatten)]
    pub(crate) problems: Problems,
}

impl From<&RunError> for RunFailure {
    fn from(error: &RunError) -> Self {
        let message = error.failure.to_string();
        Self {
            stage: (!error.stage.is_empty()).then(|| error.stage.clone()),
            exit_code: error.failure.kind.exit_code(),
            problems: Problems::one(&message),
            message,
        }
    }
}

impl RunResult {
    /// The result of a run that ended, well or not.
    pub(crate) fn of(graph: &str, run_dir: &Path, outcome: &Outcome, kept: &Kept) -> Self {
        let mut results = outcome.results.clone();
        // The counts stand under keys of their own.
        let steps = results.remove("steps");
        let examples = results.remove("examples").or(results.get("videos").copied());
        let (status, error) = match &outcome.status {
            Status::Done => ("ok", None),
            Status::FinishedEarly | Status::Stopped => ("interrupted", None),
            Status::Failed(error) => ("failed", Some(error.into())),
        };
        let reading = outcome.monitor.read();
        Self {
            graph: graph.to_owned(),
            run_dir: Some(run_dir.display().to_string()),
            rank: None,
            ranks: None,
            status,
            steps: whole(steps),
            examples: whole(examples),
            wall_seconds: outcome.wall_seconds,
            results,
            stages: view::stages(&outcome.monitor, &reading),
            bottleneck: Some(outcome.monitor.bottleneck().into()),
            checkpoints: Checkpoints::of(kept),
            framewise: VERSION,
            error,
        }
    }

    /// The result of what one of several processes did.
    pub(crate) fn of_rank(mut self, of: Option<Rank>) -> Self {
        (self.rank, self.ranks) = (of.map(|of| of.rank), of.map(|of| of.size));
        self
    }

    /// The result of a run that came to its end, of which nothing else is known yet.
    pub(crate) fn done() -> Self {
        Self {
            graph: String::new(),
            run_dir: None,
            rank: None,
            ranks: None,
            status: "ok",
            steps: 0,
            examples: 0,
            wall_seconds: 0.0,
            results: BTreeMap::new(),
            stages: Vec::new(),
            bottleneck: None,
            checkpoints: Checkpoints::default(),
            framewise: VERSION,
            error: None,
        }
    }

    /// The result of a run that could not begin.
    pub(crate) fn not_started(graph: &str, error: RunFailure) -> Self {
        Self { graph: graph.to_owned(), status: "failed", error: Some(error), ..Self::done() }
    }

    /// The result as one JSON object with the end of its line. Floats keep every digit. NaN and infinities are null.
    pub(crate) fn to_json(&self) -> String {
        text::json(self)
    }
}

/// A count that travelled as a float. Counts are far below 2^53. What is not a count becomes 0.
fn whole(value: Option<f64>) -> u64 {
    value.filter(|v| v.is_finite() && *v >= 0.0).map_or(0, |v| v.round() as u64)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A result with a stage of each kind.
    pub(crate) fn sample() -> RunResult {
        let stage = |name: &str, items_in, items_out| StageView {
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
            output_wait: 0.125,
            ended: 0.125,
            rejected: BTreeMap::from([("data_crc".to_owned(), 2)]),
            counts: BTreeMap::new(),
        };
        RunResult {
            graph: "g".into(),
            run_dir: Some("runs/g-1".into()),
            rank: None,
            ranks: None,
            status: "ok",
            steps: 3,
            examples: 1234,
            wall_seconds: 2.5,
            results: BTreeMap::from([("gap".to_owned(), 0.1 + 0.2), ("loss".to_owned(), f64::NAN)]),
            stages: vec![stage("videos", 0, 1234), stage("sink", 1234, 0)],
            bottleneck: Some(LimitView {
                stage: Some("sink".into()),
                reason: "writes".into(),
                why: "why".into(),
                advice: "advice".into(),
                at_most: Some(1.5),
            }),
            checkpoints: Checkpoints {
                last: Some(LastCheckpoint { path: "runs/g-1/checkpoints/step-00000003".into(), step: 3 }),
                best: Some(BestCheckpoint {
                    path: "runs/g-1/checkpoints/step-00000002".into(),
                    step: 2,
                    metric: "gap".into(),
                    value: Some(0.5),
                }),
            },
            framewise: VERSION,
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
            "checkpoints",
            "framewise",
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
        let problems = Problems::one("no file");
        let error =
            RunFailure { stage: Some("videos".into()), message: "no file".into(), exit_code: 66, problems };
        let value: serde_json::Value =
            serde_json::from_str(&RunResult::not_started("g", error).to_json()).unwrap();
        assert_eq!(value["status"], "failed");
        assert!(value["run_dir"].is_null() && value["bottleneck"].is_null());
        assert_eq!(value["error"]["exit_code"], 66);
        assert_eq!(value["error"]["stage"], "videos");
        assert_eq!(value["error"]["errors"][0]["message"], "no file");
        assert!(value["error"]["errors"][0]["line"].is_null());
        assert_eq!(value["error"]["warnings"], serde_json::json!([]));
    }

    #[test]
    fn counts_survive_the_detour_over_floats() {
        assert_eq!([whole(Some(3.0)), whole(None), whole(Some(f64::NAN)), whole(Some(-1.0))], [3, 0, 0, 0]);
    }
}
