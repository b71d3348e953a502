//! `metrics`: Hit@1, PERR, GAP@20, mAP and the loss over all predictions of a run.
//!
//! Law: the result does not depend on batching, sharding or order of arrival.

use framewise_pipeline::context::Level;
use framewise_pipeline::{
    Component, Failure, Input, InputPort, KeyKind, KeySpec, Packet, PayloadType, Ports, Settings, Stage,
    StageContext, StageError, Wiring,
};

use crate::payload::Predictions;
use crate::score::{Accumulator, Metrics, ScoreError};

/// The stage type.
pub(crate) struct MetricsStage;

struct Measuring {
    top_k: usize,
    input: Input<Predictions>,
    context: StageContext,
}

impl Component for MetricsStage {
    fn type_name(&self) -> &'static str {
        "metrics"
    }

    fn doc(&self) -> &'static str {
        "Measures all predictions of the run by YouTube-8M's definitions: Hit@1, PERR, GAP, mAP and the loss. They are the \
         run's results: `hit_at_1`, `perr`, `gap`, `map`, `loss` and `videos`."
    }

    fn keys(&self) -> Vec<KeySpec> {
        let doc = "Best classes of a video that enter GAP and mAP; the challenge counts 20.";
        vec![KeySpec::new("top_k", KeyKind::Integer(1..=1 << 16), doc).default(20).unit("classes")]
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        let predictions = InputPort::new::<Predictions>("predictions", PayloadType::of::<Predictions>());
        Ports { inputs: vec![predictions], outputs: vec![] }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let top_k = usize::try_from(settings.integer("top_k")).unwrap_or(usize::MAX);
        Ok(Box::new(Measuring { top_k, input: wiring.input("predictions")?, context: context.clone() }))
    }
}

impl Stage for Measuring {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        // The number of classes arrives with the first batch.
        let mut accumulator = None;
        loop {
            match self.input.recv()? {
                Packet::Item(batch) => add(&mut accumulator, &batch, self.top_k)?,
                Packet::Mark(_) => {}
                Packet::End => break,
            }
        }
        let Some(accumulator) = accumulator else {
            return Err(Failure::data("there was no video to measure").into());
        };
        let metrics = accumulator.finish();
        for (name, value) in named(&metrics) {
            self.context.results.set(name, value);
        }
        self.context.message(Level::Info, summary(&metrics));
        Ok(())
    }
}

/// Adds a batch to an accumulator that is made with the first one.
///
/// # Errors
/// `Data` for a score that is not finite, naming the video.
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

/// The metrics under the names they have in results and logs.
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

/// One line for people.
pub(crate) fn summary(metrics: &Metrics) -> String {
    let Metrics { videos, hit_at_1, perr, gap, map, loss } = metrics;
    format!(
        "{videos} videos: Hit@1 {hit_at_1:.4}, PERR {perr:.4}, GAP {gap:.4}, mAP {map:.4}, loss {loss:.4}"
    )
}
