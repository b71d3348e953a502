//! The search for edits that help: measure, apply what the diagnosis proposes, measure again, keep what is faster.
//!
//! Law: an edit is kept if the slowest measurement with it is faster than the fastest without it, by [`MARGIN`]. So an edit
//! whose effect is smaller than the noise is not kept.

use framewise_pipeline::engine::diagnosis::{Bottleneck, Edit, Reason};
use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::graph::ResolvedGraph;
use framewise_pipeline::{Failure, Registry};
use serde::{Serialize, Serializer};

use super::edits::{self, CAPACITY, CAPACITY_BYTES, WORKERS};
use crate::text::{plural, rate, seconds};
use crate::trial::{Ended, Trial, gauge};

/// The number of times that each setting is measured.
const REPEATS: usize = 2;
/// The number of settings for which the time is divided.
const SETTINGS: f64 = 5.0;
/// The least gain that is kept.
pub(super) const MARGIN: f64 = 0.02;

/// What a search needs besides the graph.
pub(super) struct Search<'a> {
    pub(super) registry: &'a Registry,
    /// The time for all measurements together.
    pub(super) seconds: f64,
    /// The number of cores, which the workers of all stages together do not exceed.
    pub(super) cores: usize,
    /// What takes a line about each measurement.
    pub(super) tell: &'a dyn Fn(&str),
}

/// What a search found.
#[derive(Debug, Serialize)]
pub(super) struct Tuned {
    pub(super) graph: String,
    /// The stage whose items are counted.
    pub(super) at: String,
    /// The items a second of each measurement before any edit.
    pub(super) before: Vec<f64>,
    pub(super) tried: Vec<Tried>,
    /// The items a second of each measurement with what was kept.
    pub(super) after: Vec<f64>,
    /// Why nothing more was tried.
    pub(super) end: String,
    /// Whether the edits were made in the file of the graph.
    pub(super) written: bool,
}

/// An edit that was tried.
#[derive(Debug, Serialize)]
pub(super) struct Tried {
    #[serde(serialize_with = "as_text")]
    pub(super) edit: Edit,
    /// The value that the edit replaces.
    pub(super) was: Option<u64>,
    /// The items a second of each measurement with the edit.
    pub(super) rates: Vec<f64>,
    /// How many times as fast the graph is with the edit, by the means.
    pub(super) times: f64,
    pub(super) kept: bool,
}

fn as_text<S: Serializer>(edit: &Edit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(edit)
}

impl Tuned {
    /// The edits that were kept, in their order.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Tried> {
        self.tried.iter().filter(|tried| tried.kept)
    }
}

/// The measurements of one setting.
struct Measured {
    rates: Vec<f64>,
    /// What limits the graph, by the last measurement.
    limit: Bottleneck,
    /// The payload bytes of an item behind each stage, by the last measurement.
    item_bytes: Vec<f64>,
}

impl Search<'_> {
    /// Measures and edits the graph of a trial until nothing more is proposed or the time is up. `None` if the user
    /// interrupts it.
    ///
    /// # Errors
    /// The failure of a run. `Config` where the graph ends, or its time is up, before it could be measured.
    pub(super) fn run(&self, mut trial: Trial) -> anyhow::Result<Option<Tuned>> {
        let Some(stage) = gauge(trial.graph()) else {
            return Err(Failure::config("this graph has no edge, so there is nothing to tune").into());
        };
        let (graph, at) = (trial.graph().name.clone(), trial.graph().stages[stage].name.clone());
        let slice = self.seconds / (SETTINGS * REPEATS as f64);
        let mut left = self.seconds;
        let Some(mut base) = self.measure(&trial, stage, slice)? else { return Ok(None) };
        left -= slice * REPEATS as f64;
        (self.tell)(&format!("as it is: {} items/s at `{at}`", shown(&base.rates)));
        let mut tuned = Tuned {
            graph,
            at,
            before: base.rates.clone(),
            tried: Vec::new(),
            after: Vec::new(),
            end: String::new(),
            written: false,
        };
        tuned.end = loop {
            let Some(proposed) = base.limit.edit.clone() else {
                break format!("{}; {}", base.limit.why, base.limit.advice);
            };
            let edit = match self.bounded(trial.graph(), &proposed, &base.item_bytes) {
                Ok(edit) => edit,
                Err(why) => break format!("{proposed} is proposed, but {why}"),
            };
            if tuned.tried.iter().any(|tried| tried.edit == edit) {
                break format!("{edit} is proposed again, which did not help");
            }
            if left < slice * REPEATS as f64 {
                break format!("the time of {} is up; {edit} would be tried next", seconds(self.seconds));
            }
            let before = trial.graph().clone();
            let was = edits::current(&before, &edit);
            edits::apply(trial.graph_mut(), &edit);
            let Some(measured) = self.measure(&trial, stage, slice)? else { return Ok(None) };
            left -= slice * REPEATS as f64;
            let kept = is_faster(&base.rates, &measured.rates);
            let times = mean(&measured.rates) / mean(&base.rates);
            (self.tell)(&format!(
                "{edit}: {} items/s, {times:.2}×, {}",
                shown(&measured.rates),
                if kept { "kept" } else { "not kept" }
            ));
            tuned.tried.push(Tried { edit, was, rates: measured.rates.clone(), times, kept });
            if kept {
                base = measured;
            } else {
                *trial.graph_mut() = before;
            }
        };
        tuned.after = base.rates;
        Ok(Some(tuned))
    }

    /// Measures the graph of a trial as it is. `None` if the user interrupts it.
    fn measure(&self, trial: &Trial, stage: usize, slice: f64) -> anyhow::Result<Option<Measured>> {
        let mut rates = Vec::with_capacity(REPEATS);
        loop {
            let (monitor, ended) = trial.run_for(self.registry, slice)?;
            if ended == Ended::Interrupted {
                return Ok(None);
            }
            rates.push(measured_rate(&monitor, stage, ended, slice)?);
            if rates.len() == REPEATS {
                let last = monitor.read();
                let bytes =
                    last.stages.iter().map(|stage| stage.bytes_out as f64 / stage.items_out.max(1) as f64);
                let item_bytes = bytes.collect();
                return Ok(Some(Measured { rates, limit: monitor.bottleneck(), item_bytes }));
            }
        }
    }

    /// The edit as far as the cores and the graph's `memory` allow it.
    ///
    /// # Errors
    /// The reason why nothing of it is allowed.
    fn bounded(&self, graph: &ResolvedGraph, edit: &Edit, item_bytes: &[f64]) -> Result<Edit, String> {
        let was = edits::current(graph, edit).unwrap_or(0);
        let most = match (edit.key, graph.memory) {
            (WORKERS, _) => {
                let others = graph.stages.iter().filter(|stage| stage.name != edit.stage);
                let others: u64 = others.map(|stage| stage.settings.integer(WORKERS)).sum();
                (self.cores as u64).saturating_sub(others)
            }
            (CAPACITY, Some(memory)) => {
                let stage = graph.stages.iter().position(|stage| stage.name == edit.stage);
                let bytes = stage.and_then(|stage| item_bytes.get(stage)).copied().unwrap_or(0.0);
                (memory as f64 / bytes.max(1.0)) as u64
            }
            (CAPACITY_BYTES, Some(memory)) => memory as u64,
            _ => u64::MAX,
        };
        let value = edit.value.min(most);
        if value > was {
            return Ok(Edit { value, ..edit.clone() });
        }
        Err(match edit.key {
            WORKERS => format!(
                "that would be more threads than cores: the workers of all stages share {}",
                plural(self.cores as u64, "core")
            ),
            _ => "more would not fit into `memory` of [graph]".to_owned(),
        })
    }
}

/// The items a second that a stage took after the warm-up.
fn measured_rate(monitor: &Monitor, stage: usize, ended: Ended, slice: f64) -> Result<f64, Failure> {
    let found = match monitor.service() {
        Ok(service) => {
            return Ok(service.window.stages[stage].items_in as f64 / service.window.seconds);
        }
        Err(found) => found,
    };
    let last = monitor.read();
    let after = seconds(last.seconds);
    let why = &found.why;
    Err(Failure::config(match (ended, found.reason) {
        (Ended::ByItself, _) => format!(
            "the graph ended after {after}, before it could be measured for {}: {why}. Give it more data or more epochs",
            seconds(slice)
        ),
        (_, Reason::TooUneven) => format!("{why}. Give it more time with --seconds"),
        _ => format!(
            "{} are too few for one measurement: {why}. Give it more time with --seconds",
            seconds(slice)
        ),
    }))
}

/// Whether every measurement with an edit is faster than every one without it.
fn is_faster(without: &[f64], with: &[f64]) -> bool {
    let fastest = without.iter().copied().fold(0.0, f64::max);
    let slowest = with.iter().copied().fold(f64::INFINITY, f64::min);
    slowest > fastest * (1.0 + MARGIN)
}

pub(super) fn mean(rates: &[f64]) -> f64 {
    rates.iter().sum::<f64>() / rates.len().max(1) as f64
}

/// The mean of measurements with how far they lie apart.
pub(super) fn shown(rates: &[f64]) -> String {
    let (lowest, highest) =
        (rates.iter().copied().fold(f64::INFINITY, f64::min), rates.iter().copied().fold(0.0, f64::max));
    let mean = mean(rates);
    let spread = if mean > 0.0 { (highest - lowest) / mean / 2.0 * 100.0 } else { 0.0 };
    format!("{} ± {spread:.0}%", rate(mean))
}
