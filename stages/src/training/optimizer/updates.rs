//! The loop of the optimizer: one update a step, each into memory that nobody else holds.

use std::sync::Arc;

use framewise_pipeline::prelude::*;
use framewise_pipeline::{ErrorKind, Results};

use crate::collective::CollectiveError;
use crate::failure::{collective_failure, compute_failure};
use crate::model::{BatchMoments, Model};
use crate::optim::{Bounds, Divided, Memory, Schedule, Version, all_finite};
use crate::payload::{Lease, Row, TrainState, Update, WeightsVersion};
use crate::ranks::Channel;
use crate::training::nonfinite::{self, Policy};
use crate::training::traffic::Traffic;

/// The running stage.
pub(super) struct Optimizing {
    pub(super) divided: Divided,
    /// The way to the other ranks that compute shards of the same steps.
    pub(super) channel: Option<Channel>,
    pub(super) traffic: Traffic,
    pub(super) schedule: Schedule,
    pub(super) model: Arc<dyn Model>,
    pub(super) current: Version,
    /// Older versions, the oldest first. An evaluation or a checkpoint in the making may still hold some of them.
    pub(super) retired: Vec<Version>,
    /// Shows the newest state to the stages that have let go of the ones before.
    pub(super) row: Row<TrainState>,
    /// The lease of the last state that was sent.
    pub(super) sent: Option<Lease<TrainState>>,
    /// What is known of the sizes of the numbers of `current`.
    pub(super) bounds: Option<Bounds>,
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
    /// `current` has become the next version.
    InPlace,
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
            *self.row.newest() = Some(state.shown());
            self.send_state(state)?;
        }
        loop {
            match self.gradients.recv()? {
                Packet::Item(update) => self.step(update)?,
                Packet::Mark(mark) => {
                    self.states.mark(mark)?;
                    // The mark tells the stages behind that the state is the last of its epoch, and they may want it then.
                    if let Some(lease) = self.sent.take() {
                        self.row.keep(lease);
                    }
                }
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
        let state = self.advance(&update, learning_rate)?;
        // The loop goes first, so that the next step can begin while the state is being written down.
        self.send_weights()?;
        if self.states.is_connected() {
            self.send_state(state)?;
        }
        Ok(())
    }

    fn send_state(&mut self, state: TrainState) -> Result<(), StageError> {
        let lease = self.row.lease();
        self.sent = Some(lease.clone());
        self.states.send(TrainState { lease: Some(lease), ..state })
    }

    /// Makes the next state and shows it. Until then, no other stage finds a state, because the one before may be in the
    /// middle of becoming the next one.
    fn advance(&mut self, update: &Update, learning_rate: f64) -> Result<TrainState, StageError> {
        let row = std::mem::take(&mut self.row);
        let mut newest = row.newest();
        let next = self
            .update(update, learning_rate, &mut newest)
            .map_err(|e| collective_failure(&format!("optimizer step {}", update.step), &e))?;
        match next {
            Attempt::InPlace => self.retired.retain(|version| !version.is_free()),
            Attempt::Finite(next) => {
                self.bounds = None;
                let previous = std::mem::replace(&mut self.current, next);
                self.retired.push(previous);
                if self.retired.len() > KEEP_RETIRED {
                    self.retired.remove(0);
                }
            }
            Attempt::NotFinite(discarded) => self.not_finite(update, discarded)?,
        }
        self.step += 1;
        self.samples += update.videos as u64;
        self.set_results();
        let state = TrainState {
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
            lease: None,
        };
        if self.states.is_connected() {
            *newest = Some(state.clone());
        }
        drop(newest);
        self.row = row;
        Ok(state)
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

    /// Makes the next version. `newest` is the state that is shown.
    fn update(
        &mut self,
        update: &Update,
        learning_rate: f64,
        newest: &mut Option<TrainState>,
    ) -> Result<Attempt, CollectiveError> {
        if !self.agree(nonfinite::losses_are_finite(update)?)? {
            return Ok(Attempt::NotFinite(None));
        }
        let shards: Vec<&BatchMoments> = update.moments.iter().map(AsRef::as_ref).collect();
        let buffers = self.model.fold_moments(self.current.weights(), &shards)?;
        let buffers_are_finite = all_finite(&buffers)?;
        // Besides this stage, only the state that is shown may have the version.
        let holders = 1 + usize::from(newest.is_some());
        if buffers_are_finite && self.current.has_holders(holders) {
            // If the update fails halfway, no other stage finds what it left.
            let shown = newest.take();
            let next = self.divided.update_in_place(
                &self.current,
                &update.gradients,
                &buffers,
                learning_rate,
                &mut self.bounds,
            )?;
            if let Some(next) = next {
                self.current = next;
                self.traffic.step(self.divided.team());
                return Ok(Attempt::InPlace);
            }
            *newest = shown;
        }
        let recycled = self.recycle();
        let (next, finite) =
            self.divided.update(&self.current, &update.gradients, &buffers, learning_rate, recycled)?;
        self.traffic.step(self.divided.team());
        let finite = finite && buffers_are_finite;
        Ok(if finite { Attempt::Finite(next) } else { Attempt::NotFinite(Some(next)) })
    }

    /// Fails, or leaves the update out. If it is left out, the version stays, and the result of the update becomes
    /// memory for the next one.
    fn not_finite(&mut self, update: &Update, discarded: Option<Version>) -> Result<(), StageError> {
        let next = discarded.as_ref().map(|v| (&**v.weights(), &*v.moments));
        let number = self.step + 1;
        let culprit = nonfinite::first(self.current.weights(), update, self.context.seed, next)
            .map_err(|e| compute_failure(&format!("searching step {number} for what is not finite"), &e))?;
        let elsewhere = match &self.channel {
            Some(channel) => nonfinite::elsewhere(channel, culprit.as_ref(), &self.context)?,
            None => None,
        };
        if let Some((rank, hopeless)) = elsewhere {
            let text = nonfinite::describe_elsewhere(number, &rank);
            if self.on_nonfinite == Policy::Stop || hopeless {
                return Err(Failure::new(ErrorKind::Config, text).into());
            }
            self.context.message(Level::Warning, format!("{text}; its update is left out"));
            self.retired.extend(discarded);
            self.retired.truncate(KEEP_RETIRED);
            return Ok(());
        }
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

    /// Whether this holds on every rank.
    fn agree(&self, holds: bool) -> Result<bool, CollectiveError> {
        let Some(channel) = &self.channel else { return Ok(holds) };
        let all = channel.all_gather(&[u8::from(holds)]);
        let all =
            all.map_err(|source| CollectiveError::Link { operation: "comparing the losses", source })?;
        Ok(all.iter().all(|holds| holds == &[1]))
    }

    /// The buffers of an old version that nobody holds any more.
    fn recycle(&mut self) -> Option<Memory> {
        let index = self.retired.iter().position(Version::is_free)?;
        self.retired.remove(index).into_memory()
    }
}
