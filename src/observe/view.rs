//! A reading of a run as data: what `--format json`, `stages.json`, `metrics.jsonl` and the server give to programs.
//!
//! Laws: the keys, their order and their units are a contract. All of it is a function of one reading, so no two places
//! differ. Numbers keep every digit, and what is not a number is null.

use std::borrow::Cow;
use std::collections::BTreeMap;

use framewise_pipeline::engine::diagnosis::Bottleneck;
use framewise_pipeline::engine::monitor::{EdgeMonitor, Monitor, StageMonitor};
use framewise_pipeline::engine::reading::{EdgeReading, Reading};
use serde::{Deserialize, Serialize};

use super::journal::Journal;
use super::ranks::{Board, RankView};
use super::recent::Point;
use crate::text;

/// The number of the layout of [`RunView`]. It grows when a key changes its meaning or goes.
const VERSION: u32 = 1;

/// A reading of a whole run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunView {
    pub(crate) version: u32,
    pub(crate) graph: String,
    /// Seconds since the run began.
    pub(crate) seconds: f64,
    /// Seconds that all threads of the process were on a core. `None` where the operating system does not tell.
    pub(crate) cpu_seconds: Option<f64>,
    /// The share of its input that the run has read, 0 to 1. `None` where no source knows how much there is.
    pub(crate) read: Option<f64>,
    /// The seconds until everything is read. `None` where that cannot be told.
    pub(crate) seconds_left: Option<f64>,
    pub(crate) stages: Vec<StageView>,
    pub(crate) edges: Vec<EdgeView>,
    pub(crate) units: Vec<UnitView>,
    pub(crate) bottleneck: LimitView,
    /// The ranks that make the run together, as rank 0 sees them. Empty for one process.
    #[serde(default)]
    pub(crate) ranks: Vec<RankView>,
}

/// The figures of a stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StageView {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    pub(crate) workers: u64,
    pub(crate) items_in: u64,
    pub(crate) items_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// The items per second of the run: those that the stage sent, or received if it sends none.
    pub(crate) items_per_second: f64,
    /// The share of the run's time in which the stage was busy, 0 to 1. It adds up to 1 with the three that follow.
    pub(crate) busy: f64,
    pub(crate) input_wait: f64,
    pub(crate) output_wait: f64,
    pub(crate) ended: f64,
    pub(crate) rejected: BTreeMap<String, u64>,
    /// What else the stage counted, such as the videos that it left out.
    pub(crate) counts: BTreeMap<String, u64>,
}

/// The figures of an edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EdgeView {
    /// The producer, `stage.port`.
    pub(crate) from: String,
    /// The consumer, `stage.port`.
    pub(crate) to: String,
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    pub(crate) capacity_items: usize,
    pub(crate) capacity_bytes: usize,
    /// The mean share of the edge's room that was in use, 0 to 1. `None` before the first sample.
    pub(crate) mean_fill: Option<f64>,
    /// The share of the run's time for which the producer waited for room.
    pub(crate) output_wait: f64,
    /// The share of the run's time for which the consumer waited for an item.
    pub(crate) input_wait: f64,
}

/// The figures of a unit: a stage, or the stages on one cycle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UnitView {
    pub(crate) stages: Vec<String>,
    /// The share of the run's time in which any of the stages worked.
    pub(crate) utilization: f64,
}

/// What limits the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LimitView {
    /// The limiting stage. `None` where the run does not tell.
    pub(crate) stage: Option<String>,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) why: String,
    pub(crate) advice: String,
    /// How many times as fast the run is at most if the advice is followed.
    pub(crate) at_most: Option<f64>,
}

impl RunView {
    /// The view of a reading of the run that `monitor` watches.
    pub(crate) fn of(monitor: &Monitor, reading: &Reading) -> Self {
        let name = |&stage: &usize| monitor.stages()[stage].name.clone();
        let units = monitor.units().stages.iter().zip(&reading.units).map(|(unit, busy)| UnitView {
            stages: unit.iter().map(name).collect(),
            utilization: share(*busy, reading.seconds),
        });
        let edges = monitor.edges().iter().zip(&reading.edges);
        Self {
            version: VERSION,
            graph: monitor.graph().to_owned(),
            seconds: reading.seconds,
            cpu_seconds: reading.cpu,
            read: reading.share_read(),
            seconds_left: monitor.seconds_left(reading),
            stages: stages(monitor, reading),
            edges: edges.map(|(edge, now)| EdgeView::of(monitor, edge, now, reading.seconds)).collect(),
            units: units.collect(),
            bottleneck: monitor.bottleneck().into(),
            ranks: Vec::new(),
        }
    }

    /// The view with the ranks of `board`, if there are several.
    pub(crate) fn with_ranks(self, board: Option<&Board>) -> Self {
        Self { ranks: board.map_or(Vec::new(), Board::view), ..self }
    }

    /// The view as one JSON object over many lines.
    pub(crate) fn to_json(&self) -> String {
        text::json(self)
    }
}

/// The readings of a run from its beginning. The difference of two of them is a window.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HistoryView {
    pub(crate) version: u32,
    pub(crate) graph: String,
    /// The names of the stages, in the order in which their figures stand in each reading.
    pub(crate) stages: Vec<String>,
    /// The edges as pairs of `stage.port`, in the order in which their depths stand in each reading.
    pub(crate) edges: Vec<(String, String)>,
    pub(crate) readings: Vec<ReadingView>,
}

/// One reading of the history. All lists have a figure for each stage or for each edge.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReadingView {
    /// Seconds since the run began.
    pub(crate) seconds: f64,
    pub(crate) items_in: Vec<u64>,
    pub(crate) items_out: Vec<u64>,
    pub(crate) busy_seconds: Vec<f64>,
    pub(crate) input_wait_seconds: Vec<f64>,
    pub(crate) output_wait_seconds: Vec<f64>,
    pub(crate) ended_seconds: Vec<f64>,
    /// The packets in each edge.
    pub(crate) depths: Vec<usize>,
}

impl HistoryView {
    /// The history of the run that `monitor` watches, with the reading of this moment as its last.
    pub(crate) fn of(monitor: &Monitor) -> Self {
        let last = monitor.read();
        let mut readings = monitor.history();
        readings.retain(|reading| reading.seconds < last.seconds);
        readings.push(last);
        let edges = monitor.edges().iter().map(|edge| {
            let name = |stage: usize, port: &str| format!("{}.{port}", monitor.stages()[stage].name);
            (name(edge.from, edge.output), name(edge.to, edge.input))
        });
        Self {
            version: VERSION,
            graph: monitor.graph().to_owned(),
            stages: monitor.stages().iter().map(|stage| stage.name.clone()).collect(),
            edges: edges.collect(),
            readings: readings.iter().map(|reading| ReadingView::of(reading)).collect(),
        }
    }

    /// The view as one JSON object.
    pub(crate) fn to_json(&self) -> String {
        one_line(self)
    }
}

impl ReadingView {
    fn of(reading: &Reading) -> Self {
        let stages = &reading.stages;
        Self {
            seconds: reading.seconds,
            items_in: stages.iter().map(|stage| stage.items_in).collect(),
            items_out: stages.iter().map(|stage| stage.items_out).collect(),
            busy_seconds: stages.iter().map(|stage| stage.busy).collect(),
            input_wait_seconds: stages.iter().map(|stage| stage.input_wait).collect(),
            output_wait_seconds: stages.iter().map(|stage| stage.output_wait).collect(),
            ended_seconds: (0..stages.len()).map(|stage| reading.ended(stage)).collect(),
            depths: reading.edges.iter().map(|edge| edge.items).collect(),
        }
    }
}

/// The numbers that stages have reported since this process began, by their kind: `train`, `evaluation`, `prediction`.
#[derive(Debug, Serialize)]
pub(crate) struct NumbersView {
    pub(crate) version: u32,
    pub(crate) graph: String,
    pub(crate) kinds: BTreeMap<String, Vec<PointView>>,
}

/// The numbers of one report.
#[derive(Debug, Serialize)]
pub(crate) struct PointView {
    /// Seconds since the run began.
    pub(crate) seconds: f64,
    pub(crate) step: u64,
    /// The values by their names. One that is not finite is null.
    pub(crate) values: BTreeMap<String, f64>,
}

impl NumbersView {
    /// The numbers that `journal` has kept of the run that `monitor` watches.
    pub(crate) fn of(monitor: &Monitor, journal: &Journal) -> Self {
        let point = |point: &Point| PointView {
            seconds: point.seconds,
            step: point.step,
            values: point.values.iter().cloned().collect(),
        };
        let kinds = journal.curves().into_iter();
        let kinds = kinds.map(|(kind, curve)| (kind, curve.points().map(point).collect()));
        Self { version: VERSION, graph: monitor.graph().to_owned(), kinds: kinds.collect() }
    }

    /// The view as one JSON object.
    pub(crate) fn to_json(&self) -> String {
        one_line(self)
    }
}

/// A view as JSON on one line.
fn one_line(view: &impl Serialize) -> String {
    let text = serde_json::to_string(view);
    text.expect("a struct of numbers and texts has a JSON form") + "\n"
}

/// The figures of all stages, in the order of the graph.
pub(crate) fn stages(monitor: &Monitor, reading: &Reading) -> Vec<StageView> {
    let stages = monitor.stages().iter().enumerate();
    stages.map(|(index, stage)| StageView::of(stage, reading, index, monitor.sends(index))).collect()
}

fn share(seconds: f64, of: f64) -> f64 {
    if of > 0.0 { seconds / of } else { 0.0 }
}

impl StageView {
    fn of(stage: &StageMonitor, reading: &Reading, index: usize, sends: bool) -> Self {
        let (now, shares) = (&reading.stages[index], reading.shares(index));
        Self {
            name: stage.name.clone(),
            type_name: stage.type_name.clone(),
            workers: stage.workers,
            items_in: now.items_in,
            items_out: now.items_out,
            bytes_in: now.bytes_in,
            bytes_out: now.bytes_out,
            items_per_second: share(now.passed(sends) as f64, reading.seconds),
            busy: shares.busy,
            input_wait: shares.input_wait,
            output_wait: shares.output_wait,
            ended: shares.ended,
            rejected: owned(&now.rejected),
            counts: owned(&now.counts),
        }
    }
}

/// Counts by names of their own.
fn owned(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
}

impl EdgeView {
    fn of(monitor: &Monitor, edge: &EdgeMonitor, now: &EdgeReading, seconds: f64) -> Self {
        let port = |stage: usize, port: &str| format!("{}.{port}", monitor.stages()[stage].name);
        Self {
            from: port(edge.from, edge.output),
            to: port(edge.to, edge.input),
            items: now.items,
            bytes: now.bytes,
            capacity_items: now.limits.items,
            capacity_bytes: now.limits.bytes,
            mean_fill: now.mean_fill(),
            output_wait: share(now.output_wait, seconds),
            input_wait: share(now.input_wait, seconds),
        }
    }
}

impl From<Bottleneck> for LimitView {
    fn from(bottleneck: Bottleneck) -> Self {
        let Bottleneck { stage, reason, why, advice, at_most, .. } = bottleneck;
        Self { stage, reason: reason.as_str().into(), why, advice, at_most }
    }
}
