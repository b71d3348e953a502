//! Resuming from a checkpoint: what the caller of a run hands in, and where each stage begins.
//!
//! Law: a run that is resumed from any checkpoint makes the same steps as the run that wrote it would have made. To
//! that end, the order of the data is replayed from the start of the checkpoint's epoch, and the cursor says how much
//! of the epoch the steps done so far have used up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use framewise_pipeline::{Failure, StageContext};
use serde::{Deserialize, Serialize};

use crate::failure::{collective_failure, compute_failure};
use crate::model::{Model, Weights};
use crate::model_kit::weights_file::check_model;
use crate::optim::{Divided, Moments, Version};
use crate::payload::Measured;
use crate::payload::{EpochProgress, TrainState};
use crate::store::Checkpoint;

/// The checkpoint from which a run is resumed. The caller puts it into
/// [`framewise_pipeline::engine::RunOptions::resources`] before the pipeline is built. Every stage that has a state
/// takes its part while it is built.
///
/// Once the optimizer is built, the optimizer has the checkpoint's tensors, and the resource holds the checkpoint
/// without them.
#[derive(Debug, Clone)]
pub struct Resume {
    /// The whole checkpoint, tensors included.
    pub checkpoint: Checkpoint,
    /// The checkpoint's own directory, `…/checkpoints/step-00000540`.
    pub directory: PathBuf,
}

/// The cursor: the place at which the data continue. A checkpoint stores it as [`Checkpoint::cursor`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The number of steps done, over all epochs.
    pub step: u64,
    /// The epoch of the last step, from 0.
    pub epoch: u64,
    /// Whether that epoch is complete. The next step then belongs to the next epoch.
    pub epoch_done: bool,
    /// The number of steps done in `epoch`.
    pub epoch_steps: u64,
    /// The number of videos that those steps took.
    pub epoch_samples: u64,
    /// The furthest place in the sources' order that a video of those steps had. Every bad record before it has been
    /// met.
    pub furthest: u64,
    /// What the last evaluation up to this step measured, where an `evaluate` stage stands before the checkpoint.
    pub measured: Option<Measured>,
    /// The files of each source, in their order, as (name, bytes).
    pub sources: BTreeMap<String, Vec<(String, u64)>>,
    /// The records that were rejected up to here, by stage and file.
    pub rejected: Vec<RejectedRecords>,
}

/// The records of one file that one stage rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejectedRecords {
    /// The stage that rejected them.
    pub stage: String,
    /// The source that reads the file.
    pub source: String,
    /// The file's index in the source's list.
    pub file: usize,
    /// The records, ascending, as (index in the file, reason, epoch in which the record was first rejected).
    pub records: Vec<(u64, String, u64)>,
}

/// The place at which a stage of the data path begins: the start of a run, or the place of a checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Start {
    /// The number of steps done.
    pub(crate) step: u64,
    /// The first epoch to read.
    pub(crate) epoch: u64,
    /// The number of steps of that epoch that are done.
    pub(crate) epoch_steps: u64,
    /// The number of videos of that epoch that are used up.
    pub(crate) epoch_samples: u64,
}

impl Resume {
    /// The checkpoint's cursor.
    ///
    /// # Errors
    /// `Data` (exit code 65) if the checkpoint has no cursor that this version understands.
    pub fn cursor(&self) -> Result<Cursor, Failure> {
        serde_json::from_value(self.checkpoint.cursor.clone()).map_err(|error| {
            Failure::data(format!(
                "{}: its cursor does not say where the data goes on ({error}); the weights alone can be used with \
                 `init_from`",
                self.directory.display()
            ))
        })
    }
}

impl Resume {
    /// The state of training that the checkpoint stores, with its version as `divided` divides it. `device` is the first
    /// device. The learning rate is not stored, and is 0 here.
    ///
    /// # Errors
    /// `Config` (exit code 78) if the seed is not the graph's. `Data` (exit code 65) if the checkpoint is damaged or
    /// belongs to another model.
    pub(crate) fn state(
        &self,
        seed: u64,
        model: &Arc<dyn Model>,
        device: &Device,
        divided: &Divided,
    ) -> Result<(TrainState, Version), Failure> {
        let (cursor, stored) = (self.cursor()?, &self.checkpoint);
        let place = self.directory.display();
        if stored.seed != seed {
            let there = stored.seed;
            return Err(Failure::config(format!(
                "{place} is of a run with seed {there}, the graph has {seed}"
            )));
        }
        if let Some(name) = stored.model.get("name").and_then(|name| name.as_str()) {
            check_model(name, model.as_ref()).map_err(|e| Failure::data(format!("{place}: {e}")))?;
        }
        let weights = Weights::from_named(model.clone(), stored.weights.clone(), device, DType::F32)
            .map_err(|e| Failure::data(format!("{place}: {e}")))?;
        let moments: BTreeMap<&str, &Tensor> = stored.moments.iter().map(|(n, t)| (n.as_str(), t)).collect();
        let kind = |kind: &str| {
            let of = |(name, shape): (String, Vec<usize>)| {
                let name = format!("{kind}.{name}");
                let tensor = moments.get(name.as_str()).filter(|tensor| tensor.dims() == shape);
                let tensor = tensor.ok_or_else(|| {
                    Failure::data(format!("{place}: the moments lack a tensor `{name}` of shape {shape:?}"))
                })?;
                tensor.to_dtype(DType::F32).map_err(|e| compute_failure("restoring Adam's moments", &e))
            };
            model
                .parameters()
                .into_iter()
                .map(|spec| of((spec.name, spec.shape)))
                .collect::<Result<Vec<_>, _>>()
        };
        let moments = Moments { first: kind("first")?, second: kind("second")?, updates: stored.updates };
        let version = divided.restore(weights, &moments);
        let version = version.map_err(|e| collective_failure("restoring the weights and moments", &e))?;
        let state = TrainState {
            step: stored.step,
            epoch: cursor.epoch,
            progress: EpochProgress {
                steps: cursor.epoch_steps,
                samples: cursor.epoch_samples,
                furthest: cursor.furthest,
            },
            samples: stored.samples,
            learning_rate: 0.0,
            weights: version.weights().clone(),
            moments: version.moments.clone(),
            metrics: (!stored.metrics.is_empty()).then(|| stored.metrics.clone()),
            measured: cursor.measured.map(Arc::new),
            restored: true,
            handover: None,
            lease: None,
        };
        Ok((state, version))
    }

    /// The checkpoint without its tensors.
    pub(crate) fn without_tensors(&self) -> Self {
        let mut checkpoint = self.checkpoint.clone();
        checkpoint.weights.clear();
        checkpoint.moments.clear();
        Self { checkpoint, directory: self.directory.clone() }
    }
}

impl Start {
    /// The place at which the stages of this run begin.
    ///
    /// # Errors
    /// The errors of [`Resume::cursor`].
    pub(crate) fn of(context: &StageContext) -> Result<Self, Failure> {
        context.resources.get::<Resume>().map_or(Ok(Self::default()), |resume| Ok(resume.cursor()?.start()))
    }
}

impl Cursor {
    /// The place after this cursor's step.
    pub(crate) fn start(&self) -> Start {
        if self.epoch_done {
            Start { step: self.step, epoch: self.epoch + 1, ..Start::default() }
        } else {
            Start {
                step: self.step,
                epoch: self.epoch,
                epoch_steps: self.epoch_steps,
                epoch_samples: self.epoch_samples,
            }
        }
    }
}
