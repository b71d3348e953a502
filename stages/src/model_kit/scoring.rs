//! Scoring of predictions: adding a batch to an accumulator, and the names and words of the result.

use framewise_pipeline::Failure;

use crate::payload::Predictions;
use crate::score::{Accumulator, Metrics, ScoreError};

/// Adds a batch to an accumulator that is made with the first one.
///
/// # Errors
/// `Data` for a score that is not finite. The error names the video.
pub(crate) fn add(
    accumulator: &mut Option<Accumulator>,
    batch: &Predictions,
    top_k: usize,
) -> Result<(), Failure> {
    let fail = |error: ScoreError| Failure::data(format!("predictions of batch {}: {error}", batch.step));
    let accumulator = match accumulator {
        Some(accumulator) => accumulator,
        None => accumulator.insert(Accumulator::new(batch.classes, top_k).map_err(fail)?),
    };
    accumulator.add(&batch.scores, &batch.labels, &batch.losses).map_err(fail)
}

/// The metrics, under the names that they have in results and logs.
pub(crate) fn named(metrics: &Metrics) -> [(&'static str, f64); 6] {
    [
        ("hit_at_1", metrics.hit_at_1),
        ("perr", metrics.perr),
        ("gap", metrics.gap),
        ("map", metrics.map),
        ("loss", metrics.loss),
        ("videos", metrics.videos as f64),
    ]
}

/// The metrics by which models are compared. The flag beside each says whether a lower value is better.
pub(crate) const COMPARED: [(&str, bool); 5] =
    [("hit_at_1", false), ("perr", false), ("gap", false), ("map", false), ("loss", true)];

/// Whether a lower value of a metric is the better one, by the name that the metric has in results. `None` for a name
/// that is no metric of this crate.
pub fn lower_is_better(metric: &str) -> Option<bool> {
    COMPARED.iter().find(|(name, _)| *name == metric).map(|(_, lower)| *lower)
}

/// The metrics as one line for people.
pub(crate) fn summary(metrics: &Metrics) -> String {
    let Metrics { videos, hit_at_1, perr, gap, map, loss } = metrics;
    let [hit_at_1, perr, gap, map, loss] = [hit_at_1, perr, gap, map, loss].map(|metric| shown(*metric, 4));
    format!("{videos} videos: Hit@1 {hit_at_1}, PERR {perr}, GAP {gap}, mAP {map}, loss {loss}")
}

/// The text of a metric for people, with this many decimals. A metric that is not defined is `n/a`.
pub(crate) fn shown(metric: f64, decimals: usize) -> String {
    if metric.is_nan() { "n/a".to_owned() } else { format!("{metric:.decimals$}") }
}
