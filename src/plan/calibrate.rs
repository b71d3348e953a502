//! What a trial run measured: the service time of each stage, the rate that follows from it, and the time of the run.

use framewise_pipeline::engine::diagnosis::{Bottleneck, Service};
use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::graph::GraphEstimate;
use serde::Serialize;

use super::work::{Work, steps};
use crate::trial::{Ended, gauge};

/// What a trial run measured.
#[derive(Debug, Serialize)]
pub(super) struct Calibration {
    /// The seconds after the warm-up that were measured; 0 where that was too short.
    pub(super) seconds: f64,
    /// Whether the graph reached its end before the time was up.
    pub(super) ended_by_itself: bool,
    pub(super) stages: Vec<Served>,
    /// `None` where the measurement does not tell.
    pub(super) predicted: Option<Predicted>,
    /// What limits the run, as the diagnosis of a run has it.
    pub(super) limit: Limit,
}

/// The service of a stage.
#[derive(Debug, Serialize)]
pub(super) struct Served {
    pub(super) stage: String,
    pub(super) workers: u64,
    pub(super) items: u64,
    /// The seconds for which the stage worked for an item; `None` where no item passed.
    pub(super) seconds_per_item: Option<f64>,
    /// The share of the time for which the stage worked.
    pub(super) busy: f64,
}

/// The rate that the service times allow, and what follows from it.
#[derive(Debug, Serialize)]
pub(super) struct Predicted {
    /// The stage whose items are counted.
    pub(super) at: String,
    /// The items a second that passed there in the trial.
    pub(super) measured_items_per_second: f64,
    /// The items a second that the service times allow.
    pub(super) items_per_second: f64,
    pub(super) steps_per_second: Option<f64>,
    pub(super) examples_per_second: Option<f64>,
    /// The seconds of the whole run; `None` if its length is not known.
    pub(super) seconds: Option<f64>,
}

/// What limits a run.
#[derive(Debug, Serialize)]
pub(super) struct Limit {
    pub(super) stage: Option<String>,
    pub(super) reason: &'static str,
    pub(super) why: String,
    pub(super) advice: String,
}

impl From<Bottleneck> for Limit {
    fn from(found: Bottleneck) -> Self {
        let Bottleneck { stage, reason, why, advice, .. } = found;
        Self { stage, reason: reason.as_str(), why, advice }
    }
}

impl Calibration {
    pub(super) fn of(estimate: &GraphEstimate, work: &Work, monitor: &Monitor, ended: Ended) -> Self {
        let ended_by_itself = ended == Ended::ByItself;
        let service = match monitor.service() {
            Ok(service) => service,
            Err(found) => {
                let limit = (*found).into();
                return Self { seconds: 0.0, ended_by_itself, stages: Vec::new(), predicted: None, limit };
            }
        };
        let stages = monitor.stages().iter().enumerate().map(|(index, stage)| Served {
            stage: stage.name.clone(),
            workers: stage.workers,
            items: service.items(index),
            seconds_per_item: service.seconds_per_item(index),
            busy: service.busy(index),
        });
        Self {
            seconds: service.window.seconds,
            ended_by_itself,
            stages: stages.collect(),
            predicted: Predicted::of(estimate, work, &service),
            limit: monitor.bottleneck().into(),
        }
    }
}

impl Predicted {
    fn of(estimate: &GraphEstimate, work: &Work, service: &Service) -> Option<Self> {
        let stage = gauge(&estimate.graph)?;
        let items = service.items(stage);
        let measured = items as f64 / service.window.seconds;
        let rate = measured * service.pace;
        let mut into = estimate.graph.edges.iter().zip(&estimate.flows);
        let flow = into.find(|(edge, _)| edge.to.0 == stage).map(|(_, flow)| *flow)?;
        let of_all =
            |total: Option<u64>| Some(total? as f64 / flow.total().filter(|total| *total > 0)? as f64);
        let steps = of_all(steps(estimate).and_then(|steps| steps.total()));
        Some(Self {
            at: estimate.graph.stages[stage].name.clone(),
            measured_items_per_second: measured,
            items_per_second: rate,
            steps_per_second: steps.map(|share| share * rate),
            examples_per_second: of_all(work.items()).map(|share| share * rate),
            seconds: flow.total().map(|total| total as f64 / rate).filter(|seconds| seconds.is_finite()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Trial, planted};

    /// The calibration of a planted graph by a trial run of so many seconds.
    fn calibrated(text: &str, seconds: f64) -> Calibration {
        let registry = planted::registry();
        let loaded = planted::graph(text);
        let estimate = loaded.estimate(&registry);
        let trial = Trial::of(&loaded, &registry, |_| true).unwrap();
        let (monitor, ended) = trial.run_for(&registry, seconds).unwrap();
        Calibration::of(&estimate, &Work::of(&estimate), &monitor, ended)
    }

    #[test]
    fn a_planted_rate_is_predicted_with_its_limit_and_the_time_of_the_run() {
        // The slowest stage takes 8 ms for each of 10,000 items.
        let found = calibrated(&planted::chain(10_000, [2000, 8000, 1000], 1, 4), 2.0);
        let predicted = found.predicted.unwrap();
        assert_eq!((predicted.at.as_str(), found.limit.stage.as_deref()), ("out", Some("decode")));
        assert!((100.0..=150.0).contains(&predicted.items_per_second), "{predicted:#?}");
        assert!((64.0..=100.0).contains(&predicted.seconds.unwrap()), "{predicted:#?}");
        let service = found.stages[1].seconds_per_item.unwrap();
        assert!((0.007..=0.010).contains(&service), "{service}");
    }

    #[test]
    fn a_graph_that_ends_at_once_tells_nothing() {
        let found = calibrated(&planted::chain(20, [0, 0, 0], 1, 4), 60.0);
        assert!(found.ended_by_itself && found.predicted.is_none() && found.stages.is_empty());
        assert_eq!(found.limit.reason, "too_short");
    }
}
