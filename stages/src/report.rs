//! `report`: a line of training every n steps.
//!
//! Law: reporting reads; it changes nothing that training depends on.

use std::time::Instant;

use framewise_pipeline::context::Level;
use framewise_pipeline::{
    Component, Failure, Input, InputPort, KeyKind, KeySpec, Packet, PayloadType, Ports, Settings, Stage,
    StageContext, StageError, Wiring,
};

use crate::metrics;
use crate::payload::{Predictions, TrainState};
use crate::run_log::RunLog;

/// The stage type.
pub(crate) struct Report;

struct Reporting {
    every_steps: u64,
    predictions: Input<Predictions>,
    states: Option<Input<TrainState>>,
    context: StageContext,
}

impl Component for Report {
    fn type_name(&self) -> &'static str {
        "report"
    }

    fn doc(&self) -> &'static str {
        "Reports training every n steps: step, epoch, loss, learning rate, examples per second, and Hit@1, PERR and GAP of \
         the step's batch. Each report is a line on the terminal and in metrics.jsonl, and TensorBoard scalars."
    }

    fn keys(&self) -> Vec<KeySpec> {
        vec![
            KeySpec::new("every_steps", KeyKind::at_least(1), "Steps from one report to the next.")
                .default(10)
                .unit("steps")
                .free(),
        ]
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports {
            inputs: vec![
                InputPort::new::<Predictions>("predictions", PayloadType::of::<Predictions>()),
                InputPort::new::<TrainState>("states", PayloadType::of::<TrainState>()).optional(),
            ],
            outputs: vec![],
        }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        RunLog::go_on(context)?;
        Ok(Box::new(Reporting {
            every_steps: settings.integer("every_steps").max(1),
            predictions: wiring.input("predictions")?,
            states: wiring.optional_input("states")?,
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
                Packet::Mark(_) => continue,
                Packet::End => return Ok(()),
            };
            let rate = self.learning_rate()?;
            videos += batch.ids.len();
            if !(batch.step + 1).is_multiple_of(self.every_steps) {
                continue;
            }
            let seconds = since.elapsed().as_secs_f64();
            self.report(&batch, rate, videos as f64 / seconds)?;
            since = Instant::now();
            videos = 0;
        }
    }
}

impl Reporting {
    /// The learning rate of the step in hand: one state comes for each step.
    fn learning_rate(&mut self) -> Result<Option<f64>, StageError> {
        let Some(states) = &mut self.states else { return Ok(None) };
        loop {
            match states.recv()? {
                Packet::Item(state) if !state.restored => return Ok(Some(state.learning_rate)),
                Packet::Item(_) | Packet::Mark(_) => {}
                Packet::End => {
                    self.states = None;
                    return Ok(None);
                }
            }
        }
    }

    fn report(
        &self,
        batch: &Predictions,
        rate: Option<f64>,
        examples_per_second: f64,
    ) -> Result<(), Failure> {
        let mut accumulator = None;
        metrics::add(&mut accumulator, batch, 20)?;
        let Some(measured) = accumulator.map(|a| a.finish()) else { return Ok(()) };
        let step = batch.step + 1;
        let mut values = vec![("loss", measured.loss)];
        values.extend(rate.map(|rate| ("learning_rate", rate)));
        values.extend([
            ("examples_per_second", examples_per_second),
            ("hit_at_1", measured.hit_at_1),
            ("perr", measured.perr),
            ("gap", measured.gap),
        ]);
        RunLog::of(&self.context).write(
            self.context.run_dir.as_deref(),
            "train",
            step,
            batch.epoch,
            &values,
        )?;
        ::metrics::gauge!("framewise_train_loss").set(measured.loss);
        ::metrics::gauge!("framewise_train_gap").set(measured.gap);
        if let Some(rate) = rate {
            ::metrics::gauge!("framewise_train_learning_rate").set(rate);
        }
        let rate = rate.map_or(String::new(), |rate| format!(", lr {rate:.2e}"));
        self.context.message(
            Level::Info,
            format!(
                "step {step} epoch {}: loss {:.4}{rate}, {examples_per_second:.1} examples/s, Hit@1 {:.3}, PERR {:.3}, GAP {:.3}",
                batch.epoch, measured.loss, measured.hit_at_1, measured.perr, measured.gap
            ),
        );
        Ok(())
    }
}
