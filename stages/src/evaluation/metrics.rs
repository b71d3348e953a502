//! `metrics`: Hit@1, PERR, GAP@20, mAP and the loss over all predictions of a run.
//!
//! Laws: the result does not depend on batching, sharding or the order of arrival, and not on the number of ranks that divide
//! the records. One rank alone has it: rank 0, or a merge where ranks exchange nothing.

use framewise_pipeline::prelude::*;

use crate::failure::link_failure;
use crate::model_kit::scoring::{add, named, summary};
use crate::model_kit::weights_file::WrittenAfter;
use crate::payload::Predictions;
use crate::run_state::metrics_log::{Kind, RunLog};
use crate::run_state::parts::{Measurement, Note, Role, while_waiting};
use crate::words::{count, plural};

/// The stage type `metrics`.
pub(crate) struct MetricsStage;

struct Measuring {
    top_k: usize,
    role: Role,
    input: Input<Predictions>,
    context: StageContext,
}

#[derive(Keys)]
pub(crate) struct Config {
    /// The number of a video's best classes that count in GAP and mAP. The challenge uses 20.
    #[key(range = 1..=1 << 16, default = 20, unit = "classes")]
    top_k: usize,
}

impl StageType for MetricsStage {
    const NAME: &'static str = "metrics";
    const DOC: &'static str = "Measures all predictions of the run by YouTube-8M's definitions: Hit@1, PERR, GAP, mAP and \
                               the loss. They are the run's results: `hit_at_1`, `perr`, `gap`, `map`, `loss` and `videos`. \
                               Where some videos have no labels, `videos_without_labels` counts them. Without any label \
                               only the loss is defined.";
    type Config = Config;

    fn ports(_config: &Config) -> Ports {
        Ports { inputs: vec![InputPort::of::<Predictions>("predictions")], outputs: vec![] }
    }

    fn estimate(config: &Config, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let batches = flows.of("predictions");
        let videos = site.upstream.nearest("batch").map(|batch| batch.settings.integer("size"));
        let videos = batches.total().zip(videos).map(|(batches, videos)| batches.saturating_mul(videos));
        // Each of a video's best classes is kept as a score and a flag.
        let kept = videos.map(|videos| videos.saturating_mul(config.top_k as u64 * size_of::<u64>() as u64));
        Some(Estimate::default().holds("the best scores of all videos", kept))
    }

    fn divides(_config: &Config, _site: &Site<'_>) -> Result<(), String> {
        Ok(())
    }

    fn build(config: Config, wiring: &mut Wiring, context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        let input = wiring.input("predictions")?;
        Ok(Box::new(Measuring {
            top_k: config.top_k,
            role: Role::of(context)?,
            input,
            context: context.clone(),
        }))
    }
}

impl Stage for Measuring {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        // The number of classes arrives with the first batch.
        let mut own = Measurement::default();
        loop {
            match self.input.recv()? {
                Packet::Item(batch) => {
                    own.unlabelled += batch.labels.iter().filter(|labels| labels.is_empty()).count() as u64;
                    add(&mut own.accumulator, &batch, self.top_k)?;
                }
                Packet::Mark(_) => {}
                Packet::End => break,
            }
        }
        if let Some(all) = self.merged(own)? {
            self.tell(&all)?;
        }
        Ok(())
    }
}

impl Measuring {
    /// The measurement of the videos of all ranks, where this process is to have it.
    fn merged(&self, own: Measurement) -> Result<Option<Measurement>, Failure> {
        match &self.role {
            Role::Alone => Ok(Some(own)),
            Role::Apart(part) => {
                part.write(&own.to_bytes())?;
                let WrittenAfter { step, epoch } = WrittenAfter::in_run(&self.context);
                part.note(&Note::Measurement { step, epoch })?;
                Ok(None)
            }
            Role::Linked(channel) => {
                let parts = while_waiting(&self.context, || channel.gather(0, &own.to_bytes()));
                let parts = parts.map_err(|e| link_failure("gathering what the ranks measured", &e))?;
                let Some([_, others @ ..]) = parts.as_deref() else { return Ok(None) };
                let mut all = own;
                for part in others {
                    all.merge(part)?;
                }
                Ok(Some(all))
            }
        }
    }

    /// Sets the results and logs them.
    fn tell(&self, all: &Measurement) -> Result<(), Failure> {
        let metrics = all.metrics()?;
        for (name, value) in named(&metrics) {
            self.context.results.set(name, value);
        }
        let WrittenAfter { step, epoch } = WrittenAfter::in_run(&self.context);
        RunLog::of(&self.context).write(&self.context, Kind::Evaluation, step, epoch, &named(&metrics))?;
        self.context.message(Level::Info, summary(&metrics));
        if all.unlabelled > 0 {
            self.context.results.set("videos_without_labels", all.unlabelled as f64);
            let (unlabelled, all) = (count(all.unlabelled), plural(metrics.videos, "video"));
            let text = format!("{unlabelled} of {all} have no labels");
            self.context.message(Level::Warning, text);
        }
        Ok(())
    }
}
