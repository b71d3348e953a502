//! `loss`: the sigmoid cross-entropy of a step, and the predictions from which it was computed.
//!
//! Laws: what leaves on `predictions` holds no tape, so a slow consumer keeps no activations alive. An epoch in which
//! no video has a label is an error, unless a key allows it.

use framewise_pipeline::prelude::*;

use crate::failure::{compute_failure, link_failure};
use crate::model_kit::estimates;
use crate::model_kit::predictions::{predictions, video_losses};
use crate::payload::{ForwardPass, LossPass, LossShard, Predictions};
use crate::ranks::Channel;
use crate::run_state::parts::while_waiting;
use crate::run_state::resume::Start;
use crate::run_state::spread;
use crate::words::{self, count, plural};

/// The stage type `loss`.
pub(crate) struct Loss;

#[derive(Keys)]
pub(crate) struct Config {
    /// Continues although an epoch has no label at all. Without this key, such an epoch ends the run with exit code 65,
    /// because a model only learns from it to score every class low.
    #[key(default = false, free)]
    allow_unlabelled: bool,
}

struct Computing {
    allow_unlabelled: bool,
    labels: Labels,
    /// The way to the other ranks that compute shards of the same steps.
    channel: Option<Channel>,
    context: StageContext,
    input: Input<ForwardPass>,
    losses: Output<LossPass>,
    predictions: Output<Predictions>,
}

impl StageType for Loss {
    const NAME: &'static str = "loss";
    const DOC: &'static str = "Computes the loss of each shard (mean over its videos of the sigmoid cross-entropy, summed \
                               over classes) with its tape, and, where something listens, the step's predictions without \
                               it.";
    type Config = Config;

    fn ports(_config: &Config) -> Ports {
        Ports {
            inputs: vec![InputPort::of::<ForwardPass>("passes")],
            outputs: vec![
                OutputPort::of::<LossPass>("losses", 1),
                OutputPort::of::<Predictions>("predictions", 4),
            ],
        }
    }

    fn estimate(_config: &Config, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let scores = estimates::score_bytes(site.upstream);
        let passes = flows.of("passes");
        let batch = passes.bytes.zip(scores).map(|(bytes, scores)| bytes.saturating_sub(scores));
        // Beside the predictions, there are the labels as numbers and their part of the tape.
        let estimate =
            Estimate::default().holds("labels and predictions", scores.map(|bytes| bytes.saturating_mul(4)));
        let losses = estimates::one_for_one(flows, "passes", batch);
        Some(estimate.sends("losses", losses).sends("predictions", losses.of_bytes(scores)))
    }

    fn build(config: Config, wiring: &mut Wiring, context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        // A resumed run does not see the part of the epoch that the steps before the checkpoint have used up.
        let partial = Start::of(context)?.epoch_steps > 0;
        Ok(Box::new(Computing {
            allow_unlabelled: config.allow_unlabelled,
            labels: Labels { partial, ..Labels::default() },
            channel: spread::channel(context)?,
            context: context.clone(),
            input: wiring.input("passes")?,
            losses: wiring.output("losses")?,
            predictions: wiring.output("predictions")?,
        }))
    }
}

impl Stage for Computing {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        loop {
            match self.input.recv()? {
                Packet::Item(pass) => {
                    for shard in &pass.shards {
                        self.labels.count(&shard.batch.labels);
                    }
                    let what = format!("loss of step {}", pass.step);
                    let (losses, predictions) = self.step(pass).map_err(|e| compute_failure(&what, &e))?;
                    if let Some(predictions) = predictions {
                        self.predictions.send(predictions)?;
                    }
                    self.losses.send(losses)?;
                }
                Packet::Mark(mark) => {
                    self.check_labels(mark)?;
                    self.predictions.mark(mark)?;
                    self.losses.mark(mark)?;
                }
                Packet::End => return Ok(()),
            }
        }
    }
}

/// The counts of the videos of an epoch.
#[derive(Default)]
struct Labels {
    videos: u64,
    without: u64,
    /// Whether the run began within the epoch, so that some of its videos were not seen.
    partial: bool,
}

impl Labels {
    fn count(&mut self, labels: &[Vec<u32>]) {
        self.videos += labels.len() as u64;
        self.without += labels.iter().filter(|labels| labels.is_empty()).count() as u64;
    }
}

impl Computing {
    /// Looks at the labels of the epoch that ends.
    fn check_labels(&mut self, mark: Mark) -> Result<(), Failure> {
        let Mark::EpochEnd { epoch } = mark;
        let Labels { videos, without, partial } = std::mem::take(&mut self.labels);
        let (videos, without) = self.of_all_ranks(videos, without)?;
        if without == 0 || partial {
            return Ok(());
        }
        if without == videos && !self.allow_unlabelled {
            let stage = &self.context.stage;
            let (videos, epoch) = (plural(videos, "video"), words::epoch(epoch));
            return Err(Failure::data(format!(
                "none of the {videos} of epoch {epoch} has a label, so there is nothing to learn: look at the \
                 records with `framewise inspect`, or set stages.{stage}.allow_unlabelled to true"
            )));
        }
        if epoch == 0 {
            let text =
                format!("{} of the {} of epoch 1 have no labels", count(without), plural(videos, "video"));
            self.context.message(Level::Warning, text);
        }
        Ok(())
    }

    /// The sums of these counts over all ranks.
    fn of_all_ranks(&self, videos: u64, without: u64) -> Result<(u64, u64), Failure> {
        let Some(channel) = &self.channel else { return Ok((videos, without)) };
        let own = [videos, without].map(u64::to_le_bytes).concat();
        let all = while_waiting(&self.context, || channel.all_gather(&own));
        let all = all.map_err(|e| link_failure("counting the labels of an epoch", &e))?;
        let sum = |index: usize| {
            let counts = all.iter().filter_map(|bytes| bytes.as_chunks().0.get(index).copied());
            counts.map(u64::from_le_bytes).sum()
        };
        Ok((sum(0), sum(1)))
    }

    fn step(&self, pass: ForwardPass) -> candle_core::Result<(LossPass, Option<Predictions>)> {
        let mut shards = Vec::with_capacity(pass.shards.len());
        let mut per_video = Vec::with_capacity(pass.shards.len());
        for shard in &pass.shards {
            let losses = video_losses(shard)?;
            shards.push(LossShard {
                device: shard.device,
                loss: losses.mean_all()?,
                videos: shard.batch.videos(),
                batch: shard.batch.clone(),
                weights: shard.weights.clone(),
                moments: shard.moments.clone(),
            });
            per_video.push(losses);
        }
        let predictions =
            if self.predictions.is_connected() { Some(predictions(&pass, &per_video)?) } else { None };
        let losses =
            LossPass { step: pass.step, epoch: pass.epoch, progress: pass.progress, shards, part: pass.part };
        Ok((losses, predictions))
    }
}
