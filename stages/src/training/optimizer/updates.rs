//! The loop of the optimizer: one update a step, each into memory that no older version's reader holds any more.

use std::sync::Arc;

use framewise_pipeline::Results;
use framewise_pipeline::prelude::*;

use crate::collective::CollectiveError;
use crate::failure::{collective_failure, compute_failure};
use crate::model::{BatchMoments, Model};
use crate::optim::{Divided, Memory, Schedule, Version, all_finite};
use crate::payload::{TrainState, Update, WeightsVersion};
use crate::training::nonfinite::{self, Policy};
use crate::training::traffic::Traffic;

/// The running stage.
pub(super) struct Optimizing {
    pub(super) divided: Divided,
    pub(super) traffic: Traffic,
    pub(super) schedule: Schedule,
    pub(super) model: Arc<dyn Model>,
    pub(super) current: Version,
    /// Older versions, the oldest first. An evaluation or a checkpoint in the making may still hold some of them.
    pub(super) retired: Vec<Version>,
    pub(super) step: u64,
    pub(super) samples: u64,
    /// The state of the checkpoint from which the run is resumed, until it was sent.
    pub(super) restored: Option<TrainState>,
    pub(super) gradients: Input<Update>,
    pub(super) weights: Output<WeightsVersion>,
    pub(super) states: Output<TrainState>,
    pub(super) results: Arc<Results>,
    pub(super) on_nonfinite: Policy,
    pub(super) context: StageContext,
}

/// What an update made.
enum Attempt {
    Finite(Version),
    /// The numbers are not finite. With the result of the update, if there was an update.
    NotFinite(Option<Version>),
}

/// The number of retired versions that are kept so that their buffers can be used again. One is enough when nothing but
/// the loop holds versions.
const KEEP_RETIRED: usize = 2;

impl Stage for Optimizing {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        self.send_weights()?;
        if let Some(state) = self.restored.take() {
            self.set_results();
            self.states.send(state)?;
        }
        loop {
            match self.gradients.recv()? {
                Packet::Item(update) => self.step(update)?,
                Packet::Mark(mark) => self.states.mark(mark)?,
                Packet::End => {
                    self.traffic.tell();
                    return Ok(());
                }
            }
        }
    }
}

impl Optimizing {
    fn send_weights(&mut self) -> Result<(), StageError> {
        let (weights, replicas) = (self.current.weights().clone(), self.current.replicas[1..].to_vec());
        self.weights.send(WeightsVersion { version: self.step, weights, replicas })
    }

    fn step(&mut self, update: Update) -> Result<(), StageError> {
        let learning_rate = self.schedule.rate(self.samples, update.epoch);
        let next = self
            .update(&update, learning_rate)
            .map_err(|e| collective_failure(&format!("optimizer step {}", update.step), &e))?;
        match next {
            Attempt::Finite(next) => {
                let previous = std::mem::replace(&mut self.current, next);
                self.retired.push(previous);
                if self.retired.len() > KEEP_RETIRED {
                    self.retired.remove(0);
                }
            }
            Attempt::NotFinite(discarded) => self.not_finite(&update, discarded)?,
        }
        self.step += 1;
        self.samples += update.videos as u64;
        self.set_results();
        // The loop goes first, so that the next step can begin while the state is being written down.
        self.send_weights()?;
        if self.states.is_connected() {
            self.states.send(TrainState {
                step: self.step,
                epoch: update.epoch,
                progress: update.progress,
                samples: self.samples,
                learning_rate,
                weights: self.current.weights().clone(),
                moments: self.current.moments.clone(),
                metrics: None,
                measured: None,
                restored: false,
                handover: None,
            })?;
        }
        Ok(())
    }

    fn set_results(&self) {
        self.results.set("steps", self.step as f64);
        self.results.set("examples", self.samples as f64);
        if self.on_nonfinite == Policy::Skip {
            // The number follows from what a checkpoint holds, so that a resumed run continues the count.
            let skipped = self.step.saturating_sub(self.current.moments.updates());
            self.results.set("skipped_updates", skipped as f64);
        }
    }

    fn update(&mut self, update: &Update, learning_rate: f64) -> Result<Attempt, CollectiveError> {
        if !nonfinite::losses_are_finite(update)? {
            return Ok(Attempt::NotFinite(None));
        }
        let recycled = self.recycle();
        let shards: Vec<&BatchMoments> = update.moments.iter().map(AsRef::as_ref).collect();
        let buffers = self.model.fold_moments(self.current.weights(), &shards)?;
        let (next, finite) =
            self.divided.update(&self.current, &update.gradients, &buffers, learning_rate, recycled)?;
        self.traffic.step(self.divided.team());
        let finite = finite && all_finite(&buffers)?;
        Ok(if finite { Attempt::Finite(next) } else { Attempt::NotFinite(Some(next)) })
    }

    /// Fails, or leaves the update out. If it is left out, the version stays, and the result of the update becomes
    /// memory for the next one.
    fn not_finite(&mut self, update: &Update, discarded: Option<Version>) -> Result<(), StageError> {
        let next = discarded.as_ref().map(|v| (&**v.weights(), &*v.moments));
        let number = self.step + 1;
        let culprit = nonfinite::first(self.current.weights(), update, self.context.seed, next)
            .map_err(|e| compute_failure(&format!("searching step {number} for what is not finite"), &e))?;
        // Weights that are not finite do not become finite by leaving updates out.
        let hopeless = culprit.as_ref().is_some_and(|c| c.is_in_the_weights());
        if self.on_nonfinite == Policy::Stop || hopeless {
            return Err(nonfinite::failure(number, update, culprit.as_ref()).into());
        }
        let text = nonfinite::describe(number, update, culprit.as_ref());
        self.context.message(Level::Warning, format!("{text}; its update is left out"));
        self.retired.extend(discarded);
        self.retired.truncate(KEEP_RETIRED);
        Ok(())
    }

    /// The buffers of an old version that nobody holds any more.
    fn recycle(&mut self) -> Option<Memory> {
        let index = self.retired.iter().position(Version::is_free)?;
        self.retired.remove(index).into_memory()
    }
}
