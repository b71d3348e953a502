//! `nextvlad_forward`, `logistic_forward`, `mixture_of_experts_forward`: logits of a step's videos, with the tape in
//! training.
//!
//! Laws: in training, step n is computed with weights version n; the result does not depend on how many devices the
//! shards are spread over.

use std::sync::Arc;

use candle_core::{Device, Tensor, WithDType};
use framewise_pipeline::{
    Component, Failure, Input, InputPort, KeyKind, KeySpec, Output, OutputPort, Packet, PayloadType, Ports,
    Settings, Stage, StageContext, StageError, Wiring,
};

use crate::device::{self, check_devices, devices_key};
use crate::model::{DeviceBatch, Dropout, Model, Weights};
use crate::model_kind::ModelKind;
use crate::parallel::per_device;
use crate::payload::{Batch, Features, ForwardPass, ForwardShard, Step, WeightsVersion};

/// The stage type of each model.
pub(crate) struct ModelForward(pub(crate) ModelKind);

struct Forward {
    model: Arc<dyn Model>,
    devices: Vec<Device>,
    training: bool,
    seed: u64,
    /// The weights in use, with a copy on each other device.
    replicas: Option<Replicas>,
    steps: Input<Step>,
    weights: Input<WeightsVersion>,
    output: Output<ForwardPass>,
    context: StageContext,
}

struct Replicas {
    version: u64,
    per_device: Vec<Arc<Weights>>,
}

impl Component for ModelForward {
    fn type_name(&self) -> &'static str {
        match self.0 {
            ModelKind::NextVlad => "nextvlad_forward",
            ModelKind::Logistic => "logistic_forward",
            ModelKind::MixtureOfExperts => "mixture_of_experts_forward",
        }
    }

    fn doc(&self) -> &'static str {
        match self.0 {
            ModelKind::NextVlad => {
                "Computes NeXtVLAD's logits for every shard of a step. In mode train it takes a new version of the weights for \
                 each step and keeps the tape for backward; in mode evaluate it uses running statistics and the one version it \
                 gets."
            }
            ModelKind::Logistic => {
                "Computes the logits of logistic regression on video-level features, for every shard of a step; modes as in \
                 nextvlad_forward. The baseline `LogisticModel` of YouTube-8M's starter code."
            }
            ModelKind::MixtureOfExperts => {
                "Computes the logits of a mixture of logistic experts on video-level features, for every shard of a step; modes \
                 as in nextvlad_forward. The baseline `MoeModel` of YouTube-8M's starter code."
            }
        }
    }

    fn keys(&self) -> Vec<KeySpec> {
        let mut keys = vec![
            KeySpec::new(
                "mode",
                KeyKind::OneOf(&["train", "evaluate"]),
                "train: batch statistics, dropout and a tape; evaluate: running statistics, no dropout, no tape.",
            )
            .default("train"),
            devices_key(),
        ];
        keys.extend(self.0.keys());
        keys
    }

    fn ports(&self, settings: &Settings) -> Ports {
        Ports {
            inputs: vec![
                InputPort::new::<Step>("batches", self.0.videos::<Step>(settings)),
                InputPort::new::<WeightsVersion>("weights", self.0.weights(settings)),
            ],
            outputs: vec![OutputPort::new::<ForwardPass>("passes", PayloadType::of::<ForwardPass>(), 1)],
        }
    }

    fn check(&self, settings: &Settings) -> Vec<(&'static str, String)> {
        let mut problems = self.0.check(settings);
        problems.extend(check_devices(settings));
        problems
    }

    fn finishes_on_request(&self) -> bool {
        true
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        Ok(Box::new(Forward {
            model: self.0.model(settings)?,
            devices: device::open(&device::names(settings))?,
            training: settings.text("mode") == "train",
            seed: context.seed,
            replicas: None,
            steps: wiring.input("batches")?,
            weights: wiring.input("weights")?,
            output: wiring.output("passes")?,
            context: context.clone(),
        }))
    }
}

impl Stage for Forward {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        loop {
            match self.steps.recv()? {
                Packet::Item(step) => {
                    if self.training && self.context.stop.finish_requested() {
                        // As if the input had ended here: the steps done so far reach the checkpoint.
                        return Ok(());
                    }
                    if self.training || self.replicas.is_none() {
                        self.take_weights()?;
                    }
                    let pass = self.pass(&step)?;
                    self.output.send(pass)?;
                }
                Packet::Mark(mark) => self.output.mark(mark)?,
                Packet::End => return Ok(()),
            }
        }
    }
}

impl Forward {
    fn take_weights(&mut self) -> Result<(), StageError> {
        // Drop the last version first: the optimiser writes the next but one into its buffers.
        self.replicas = None;
        loop {
            match self.weights.recv()? {
                Packet::Item(WeightsVersion { version, weights }) => {
                    check_shapes(&*self.model, &weights)?;
                    let place = |device: &Device| {
                        if weights.device().is_none_or(|d| d.same_device(device)) {
                            Ok(weights.clone())
                        } else {
                            weights.to_device(device).map(Arc::new)
                        }
                    };
                    let per_device = self.devices.iter().map(place).collect::<candle_core::Result<_>>();
                    let per_device = per_device.map_err(|e| compute_failure("copying the weights", &e))?;
                    self.replicas = Some(Replicas { version, per_device });
                    return Ok(());
                }
                Packet::Mark(_) => {}
                Packet::End => {
                    return Err(Failure::internal("the weights ended before the batches").into());
                }
            }
        }
    }

    fn pass(&self, step: &Step) -> Result<ForwardPass, StageError> {
        let replicas = self.replicas.as_ref().expect("weights are taken before the first step");
        if self.training && replicas.version != step.index {
            let version = replicas.version;
            return Err(
                Failure::internal(format!("step {} with weights version {version}", step.index)).into()
            );
        }
        let count = step.shards.len();
        let places = (0..count).map(|shard| device::place(shard, count, self.devices.len()));
        let computed = per_device(places.map(|device| (device, device)).collect(), |shard, device| {
            self.shard(step, shard, device, &replicas.per_device[device])
        });
        let shards = computed
            .into_iter()
            .collect::<candle_core::Result<_>>()
            .map_err(|e| compute_failure(&format!("forward of step {}", step.index), &e))?;
        Ok(ForwardPass { step: step.index, epoch: step.epoch, progress: step.progress, shards })
    }

    fn shard(
        &self,
        step: &Step,
        shard: usize,
        device: usize,
        weights: &Arc<Weights>,
    ) -> candle_core::Result<ForwardShard> {
        let batch = &step.shards[shard];
        let frames = to_device(batch, &self.devices[device])?;
        let (logits, moments) = if self.training {
            let dropout = Dropout::Seeded { seed: self.seed, step: step.index, shard: shard as u64 };
            let forward = self.model.forward_train(weights, &frames, &dropout)?;
            (forward.logits, Some(Arc::new(forward.moments)))
        } else {
            (self.model.forward_eval(weights, &frames)?, None)
        };
        // A step of many shards on a slow device may take longer than the watchdog waits.
        self.context.meter.touch();
        Ok(ForwardShard { device, batch: batch.clone(), weights: weights.clone(), logits, moments })
    }
}

/// The features of a batch as tensors on a device.
pub(crate) fn to_device(batch: &Batch, device: &Device) -> candle_core::Result<DeviceBatch> {
    fn rows<T: WithDType>(data: &[T], rows: usize, device: &Device) -> candle_core::Result<Tensor> {
        Tensor::from_slice(data, (rows, data.len() / rows.max(1)), device)
    }
    Ok(match &batch.features {
        Features::Frames { lengths, rgb, audio } => {
            let frames = lengths.iter().sum();
            DeviceBatch {
                rgb: rows(rgb, frames, device)?,
                audio: rows(audio, frames, device)?,
                lengths: lengths.clone(),
            }
        }
        Features::Means { rgb, audio } => {
            let videos = batch.videos();
            DeviceBatch {
                rgb: rows(rgb, videos, device)?,
                audio: rows(audio, videos, device)?,
                lengths: vec![1; videos],
            }
        }
    })
}

fn check_shapes(model: &dyn Model, weights: &Weights) -> Result<(), Failure> {
    if weights.model.name() != model.name() {
        return Err(Failure::config(format!(
            "the weights belong to model `{}`, this stage computes `{}`",
            weights.model.name(),
            model.name()
        )));
    }
    let wanted = model.parameters();
    for (spec, tensor) in wanted.iter().zip(&weights.parameters) {
        if tensor.dims() != spec.shape {
            return Err(Failure::config(format!(
                "the weights do not fit this model: tensor `{}` is {:?}, the graph's model wants {:?}",
                spec.name,
                tensor.dims(),
                spec.shape
            )));
        }
    }
    if wanted.len() == weights.parameters.len() {
        Ok(())
    } else {
        Err(Failure::config("the weights belong to another kind of model"))
    }
}

/// The failure of a computation on a device; out-of-memory is told as such by candle's own message.
pub(crate) fn compute_failure(what: &str, error: &candle_core::Error) -> Failure {
    Failure::internal(format!("{what}: {error}"))
}
