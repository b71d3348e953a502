//! `report`: prints a line about training every n steps.
//!
//! Laws: reporting only reads. It changes nothing that training depends on. A report that fails ends the run, and the
//! state that a `checkpoint` stage has in hand is written first.

use std::time::Instant;

use framewise_pipeline::Payload;
use framewise_pipeline::prelude::*;

use crate::failure::{compute_failure, link_failure};
use crate::model_kit::estimates;
use crate::model_kit::scoring;
use crate::payload::{Predictions, TrainState, Update};
use crate::ranks::Channel;
use crate::run_state::metrics_log::{Kind, RunLog};
use crate::run_state::parts::{Measurement, while_waiting};
use crate::run_state::rescue::Rescue;
use crate::run_state::spread;
use crate::score::Metrics;
use crate::words::{count, epoch};

/// The stage type `report`.
pub(crate) struct Report;

struct Reporting {
    every_steps: u64,
    predictions: Input<Predictions>,
    states: Option<Input<TrainState>>,
    gradients: Option<Input<Update>>,
    /// The number of steps from one set of histograms to the next; 0 for none.
    histograms: u64,
    /// The way to the other ranks that compute shards of the same steps.
    channel: Option<Channel>,
    context: StageContext,
}

#[derive(Keys)]
pub(crate) struct Config {
    /// The number of steps from one report to the next.
    #[key(range = 1.., default = 10, unit = "steps", free)]
    every_steps: u64,
    /// Writes TensorBoard histograms after every n-th step: of all weights, which come with `states`, and of all
    /// gradients where `gradients` is connected to `all_reduce`. With 0, it writes none.
    #[key(range = 0.., default = 0, unit = "steps", free)]
    histograms_every_steps: u64,
}

impl StageType for Report {
    const NAME: &'static str = "report";
    const DOC: &'static str = "Reports training every n steps: step, epoch, loss, learning rate, examples per second, and \
                               Hit@1, PERR and GAP of the step's batch. Each report is a line on the terminal and in \
                               metrics.jsonl, and TensorBoard scalars. On request it also writes histograms.";
    type Config = Config;

    fn ports(_config: &Config) -> Ports {
        Ports {
            inputs: vec![
                InputPort::of::<Predictions>("predictions"),
                InputPort::of::<TrainState>("states").optional(),
                InputPort::of::<Update>("gradients").optional(),
            ],
            outputs: vec![],
        }
    }

    fn estimate(_config: &Config, site: &Site<'_>, _flows: &Flows) -> Option<Estimate> {
        Some(Estimate::default().holds("the predictions of a step", estimates::score_bytes(site.upstream)))
    }

    fn build(config: Config, wiring: &mut Wiring, context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        RunLog::go_on(context)?;
        let channel = spread::channel(context)?;
        if channel.is_some() && config.histograms_every_steps > 0 {
            return Err(Failure::config(
                "histograms are written of whole gradients, of which each rank has a slice: set histograms_every_steps to 0 \
                 where several ranks train",
            ));
        }
        Ok(Box::new(Reporting {
            every_steps: config.every_steps,
            predictions: wiring.input("predictions")?,
            states: wiring.optional_input("states")?,
            gradients: wiring.optional_input("gradients")?,
            histograms: config.histograms_every_steps,
            channel,
            context: context.clone(),
        }))
    }
}

impl Stage for Reporting {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        let mut since = Instant::now();
        let mut videos = 0;
        loop {
            let batch = match self.predictions.recv()? {
                Packet::Item(batch) => batch,
                Packet::Mark(_) => {
                    self.pass_mark()?;
                    continue;
                }
                Packet::End => return Ok(()),
            };
            let state = self.state()?;
            let update = next(&mut self.gradients, |_| true)?;
            let step = batch.step + 1;
            if self.histograms > 0 && step.is_multiple_of(self.histograms) {
                self.write_histograms(step, state.as_ref(), update.as_ref())
                    .inspect_err(|_| Rescue::of(&self.context).ask())?;
            }
            let rate = state.map(|state| state.learning_rate);
            videos += batch.ids.len();
            ::metrics::counter!("framewise_train_examples_total").increment(batch.ids.len() as u64);
            if !step.is_multiple_of(self.every_steps) {
                continue;
            }
            let seconds = since.elapsed().as_secs_f64();
            let (own, videos_of_all) = self.of_all_ranks(&batch, videos)?;
            if let Some(measured) = own {
                self.report(&batch, &measured, rate, videos_of_all as f64 / seconds)
                    .inspect_err(|_| Rescue::of(&self.context).ask())?;
            }
            since = Instant::now();
            videos = 0;
        }
    }
}

impl Reporting {
    /// Takes the states and the gradients up to the mark that the predictions have reached. Marks that stayed in a channel
    /// would fill it where epochs have few steps, and the stage before it would wait for this stage while this stage waits
    /// for it.
    fn pass_mark(&mut self) -> Result<(), StageError> {
        to_mark(&mut self.states)?;
        to_mark(&mut self.gradients)
    }

    /// The state after the step in hand. One state comes for each step.
    fn state(&mut self) -> Result<Option<TrainState>, StageError> {
        next(&mut self.states, |state| !state.restored)
    }

    /// Writes a histogram of each weight and of each gradient that is there.
    fn write_histograms(
        &self,
        step: u64,
        state: Option<&TrainState>,
        update: Option<&Update>,
    ) -> Result<(), Failure> {
        let Some(state) = state else { return Ok(()) };
        let names = || state.weights.model.parameters().into_iter().map(|parameter| parameter.name);
        let weights = state.weights.parameters.iter().map(|weight| weight.as_detached_tensor());
        let weights = names().map(|name| format!("weights/{name}")).zip(weights);
        let gradients = update.map(|update| update.gradients.tensors()).transpose();
        let gradients = gradients.map_err(|e| compute_failure("joining the gradients", &e))?;
        let gradients = gradients.into_iter().flatten();
        let gradients = names().map(|name| format!("gradients/{name}")).zip(gradients);
        RunLog::of(&self.context).histograms(&self.context, step, weights.chain(gradients))
    }

    /// The metrics of the step's batch and the number of videos since the last report, over all ranks. There are no metrics on a
    /// rank that does not report.
    fn of_all_ranks(&self, batch: &Predictions, videos: usize) -> Result<(Option<Metrics>, usize), Failure> {
        let mut own = Measurement::default();
        if !batch.ids.is_empty() {
            scoring::add(&mut own.accumulator, batch, 20)?;
        }
        let Some(channel) = &self.channel else {
            return Ok((own.accumulator.map(|a| a.finish()), videos));
        };
        let bytes = [&(videos as u64).to_le_bytes()[..], &own.to_bytes()].concat();
        let all = while_waiting(&self.context, || channel.gather(0, &bytes));
        let all = all.map_err(|e| link_failure("gathering the reports of the ranks", &e))?;
        let Some(all) = all else { return Ok((None, videos)) };
        let (mut merged, mut videos) = (Measurement::default(), 0);
        for bytes in all {
            let Some((count, part)) = bytes.split_first_chunk() else { continue };
            videos += u64::from_le_bytes(*count) as usize;
            merged.merge(part)?;
        }
        Ok((merged.accumulator.map(|a| a.finish()), videos))
    }

    fn report(
        &self,
        batch: &Predictions,
        measured: &Metrics,
        rate: Option<f64>,
        examples_per_second: f64,
    ) -> Result<(), Failure> {
        let step = batch.step + 1;
        let mut values = vec![("loss", measured.loss)];
        values.extend(rate.map(|rate| ("learning_rate", rate)));
        values.extend([
            ("examples_per_second", examples_per_second),
            ("hit_at_1", measured.hit_at_1),
            ("perr", measured.perr),
            ("gap", measured.gap),
        ]);
        RunLog::of(&self.context).write(&self.context, Kind::Train, step, batch.epoch, &values)?;
        ::metrics::gauge!("framewise_train_loss").set(measured.loss);
        ::metrics::gauge!("framewise_train_gap").set(measured.gap);
        if let Some(rate) = rate {
            ::metrics::gauge!("framewise_train_learning_rate").set(rate);
        }
        let rate = rate.map_or(String::new(), |rate| format!(", lr {rate:.2e}"));
        let [hit_at_1, perr, gap] =
            [measured.hit_at_1, measured.perr, measured.gap].map(|metric| scoring::shown(metric, 3));
        self.context.message(
            Level::Info,
            format!(
                "step {} epoch {}: loss {:.4}{rate}, {examples_per_second:.1} examples/s, Hit@1 {hit_at_1}, PERR {perr}, GAP {gap}",
                count(step),
                epoch(batch.epoch),
                measured.loss
            ),
        );
        Ok(())
    }
}

/// The next item of an input that `counts`. `None` if the input is not connected or has ended.
fn next<T: Payload>(
    input: &mut Option<Input<T>>,
    counts: impl Fn(&T) -> bool,
) -> Result<Option<T>, StageError> {
    while let Some(port) = input {
        match port.recv()? {
            Packet::Item(item) if counts(&item) => return Ok(Some(item)),
            Packet::Item(_) | Packet::Mark(_) => {}
            Packet::End => *input = None,
        }
    }
    Ok(None)
}

/// Takes everything up to the next mark of an input.
fn to_mark<T: Payload>(input: &mut Option<Input<T>>) -> Result<(), StageError> {
    while let Some(port) = input {
        match port.recv()? {
            Packet::Item(_) => {}
            Packet::Mark(_) => return Ok(()),
            Packet::End => *input = None,
        }
    }
    Ok(())
}
