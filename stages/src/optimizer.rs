//! `optimizer`: Adam on the mean gradient of each step; the source of the weights loop.
//!
//! Laws: version 0 is sent before any input; version n+1 is made from version n and the gradients of step n; no
//! version changes once it was sent; none with a number that is not finite ever is. Version n+1 is written into the
//! buffers of an older version that nobody holds. A run that goes on from step n begins with version n, and with the
//! state of that step on `states`.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device};
use framewise_pipeline::context::Level;
use framewise_pipeline::{
    Component, Failure, Input, InputPort, KeyKind, KeySpec, Output, OutputPort, Packet, PayloadType, Ports,
    Results, Settings, Stage, StageContext, StageError, Wiring,
};
use serde::Deserialize;

use crate::device::{self, check_devices, devices_key};
use crate::forward::compute_failure;
use crate::model::{BatchMoments, Model, Weights};
use crate::model_kind::{FRAME_LEVEL, MODEL, ModelKind, model_keys};
use crate::nonfinite::{self, Policy};
use crate::optim::{
    Adam, AdamConfig, Clip, EpsilonPlace, Moments, Schedule, ScheduleKind, Updated, all_finite,
};
use crate::payload::{TrainState, Update, WeightsVersion};
use crate::resume::Resume;

/// The stage type.
pub(crate) struct Optimizer;

#[derive(Deserialize)]
struct Config {
    learning_rate: f64,
    decay: f64,
    decay_samples: u64,
    milestone_epochs: Vec<u64>,
    milestone_factors: Vec<f64>,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    epsilon_place: EpsilonPlace,
    l2: f64,
    l2_parameters: Vec<String>,
    clip: String,
    clip_norm: f64,
    on_nonfinite: String,
    init_from: Option<PathBuf>,
    eigenvalues: Option<PathBuf>,
}

struct Optimizing {
    adam: Adam,
    schedule: Schedule,
    model: Arc<dyn Model>,
    current: Version,
    /// Older versions, oldest first. Some may still be held by an evaluation or a checkpoint being written.
    retired: Vec<Version>,
    step: u64,
    samples: u64,
    /// The state of the checkpoint that the run goes on from, until it was sent.
    restored: Option<TrainState>,
    gradients: Input<Update>,
    weights: Output<WeightsVersion>,
    states: Output<TrainState>,
    results: Arc<Results>,
    on_nonfinite: Policy,
    context: StageContext,
}

#[derive(Clone)]
struct Version {
    weights: Arc<Weights>,
    moments: Arc<Moments>,
}

/// What an update made.
enum Attempt {
    Finite(Version),
    /// With what it made, where it came to an update.
    NotFinite(Option<Version>),
}

/// Retired versions kept in the hope of their buffers. One is enough when nothing but the loop holds versions.
const KEEP_RETIRED: usize = 2;

impl Component for Optimizer {
    fn type_name(&self) -> &'static str {
        "optimizer"
    }

    fn doc(&self) -> &'static str {
        "Applies Adam to the mean gradient of each step and sends the next version of the weights. Its `weights` output is \
         delayed: it sends version 0, drawn from the seed or read from init_from, before its first input, which closes the \
         training loop. `states` carries everything a checkpoint stores, once a step."
    }

    fn keys(&self) -> Vec<KeySpec> {
        let mut keys = vec![
            KeySpec::new("learning_rate", KeyKind::Float(0.0..=10.0), "The learning rate at the start.").default(2e-4),
            KeySpec::new("decay", KeyKind::Float(0.0..=1.0), "Factor on the learning rate every decay_samples videos.")
                .default(0.8),
            KeySpec::new(
                "decay_samples",
                KeyKind::at_least(0),
                "Videos seen between two decays: lr = learning_rate · decay^floor(seen / decay_samples). 0 never decays.",
            )
            .default(2_000_000)
            .unit("videos"),
            KeySpec::new(
                "milestone_epochs",
                KeyKind::Integers(1..=1 << 32),
                "Epochs from which the factors of milestone_factors hold, ascending; in place of decay.",
            )
            .default(toml::Value::Array(vec![]))
            .unit("epochs"),
            KeySpec::new(
                "milestone_factors",
                KeyKind::Floats(0.0..=1e6),
                "For each milestone epoch the factor on learning_rate (not on the factor before it).",
            )
            .default(toml::Value::Array(vec![])),
            KeySpec::new("beta1", KeyKind::Float(0.0..=0.999_999), "Adam's decay of the first moment.").default(0.9),
            KeySpec::new("beta2", KeyKind::Float(0.0..=0.999_999_9), "Adam's decay of the second moment.").default(0.999),
            KeySpec::new("epsilon", KeyKind::Float(0.0..=1.0), "Adam's epsilon.").default(1e-8),
            KeySpec::new(
                "epsilon_place",
                KeyKind::OneOf(&["after_correction", "before_correction"]),
                "after_correction: m̂ / (sqrt(v̂) + ε); before_correction: TensorFlow's lr·sqrt(1−β2^t)/(1−β1^t) · m/(sqrt(v)+ε).",
            )
            .default("after_correction"),
            KeySpec::new("l2", KeyKind::Float(0.0..=1e3), "Adds l2·w to the gradient of l2_parameters.").default(1e-5),
            KeySpec::new("l2_parameters", KeyKind::Texts, "Parameters that l2 applies to.").default(toml::Value::Array(
                vec!["classifier.weight".into(), "classifier.bias".into()],
            ))
            .default_with(MODEL, &["logistic"], vec!["classifier.weight"])
            .default_with(MODEL, &["mixture_of_experts"], vec!["gates.weight", "experts.weight"]),
            KeySpec::new(
                "clip",
                KeyKind::OneOf(&["off", "global", "per_variable"]),
                "Clips gradients to clip_norm: by their norm over all parameters, or each parameter's by its own.",
            )
            .default("off"),
            KeySpec::new("clip_norm", KeyKind::Float(1e-12..=1e12), "The norm to clip to.").default(1.0),
            KeySpec::new(
                "on_nonfinite",
                KeyKind::OneOf(&["stop", "skip"]),
                "What happens when a loss, a gradient or what an update makes of it is NaN or infinite. stop: the run ends with \
                 the step, its videos and the first such tensor. skip: that update is left out, with a warning; weights and \
                 moments stay, the step counts, and `skipped_updates` of the results tells how often.",
            )
            .default("stop")
            .free(),
            KeySpec::new(
                "init_from",
                KeyKind::Path,
                "Starts from the weights of a checkpoint, run directory or .safetensors file, in place of drawn ones. Where they \
                 are for another number of classes, the classifier is drawn anew. Moments, schedule and data start afresh.",
            ),
            KeySpec::new(
                "eigenvalues",
                KeyKind::Path,
                "The .npy file of the YouTube-8M PCA release: visual features are multiplied with sqrt(eigenvalue) + 1e-4, \
                 which reverses the whitening. The factors become part of the weights. Without it they are 1.",
            )
            .only_with(MODEL, FRAME_LEVEL),
            devices_key(),
        ];
        keys.extend(model_keys());
        keys
    }

    fn ports(&self, settings: &Settings) -> Ports {
        Ports {
            inputs: vec![InputPort::new::<Update>("gradients", PayloadType::of::<Update>())],
            outputs: vec![
                OutputPort::new::<WeightsVersion>("weights", ModelKind::of(settings).weights(settings), 1)
                    .delayed(),
                OutputPort::new::<TrainState>("states", PayloadType::of::<TrainState>(), 1),
            ],
        }
    }

    fn check(&self, settings: &Settings) -> Vec<(&'static str, String)> {
        let mut problems = ModelKind::of(settings).check(settings);
        problems.extend(check_devices(settings));
        if let Ok(config) = settings.parse::<Config>() {
            if config.milestone_epochs.len() != config.milestone_factors.len() {
                problems
                    .push(("milestone_factors", "one factor is needed for each of milestone_epochs".into()));
            }
            if config.init_from.is_some() && config.eigenvalues.is_some() {
                problems.push(("eigenvalues", "the weights of init_from bring their own factors".into()));
            }
            if !config.milestone_epochs.is_sorted_by(|a, b| a < b) {
                problems.push(("milestone_epochs", "milestones must ascend".into()));
            }
            let names: Vec<_> =
                ModelKind::of(settings).model(settings).map(|m| m.parameters()).unwrap_or_default();
            let unknown = config.l2_parameters.iter().filter(|name| !names.iter().any(|p| p.name == **name));
            if !names.is_empty() {
                problems
                    .extend(unknown.map(|n| ("l2_parameters", format!("the model has no parameter `{n}`"))));
            }
        }
        problems
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let config: Config = settings.parse()?;
        let model = ModelKind::of(settings).model(settings)?;
        // The weights live on the first device; forward copies them to the others.
        let device = device::open(&device::names(settings)[..1])?.remove(0);
        let restored = match context.resources.get::<Resume>() {
            Some(resume) => {
                let state = resume.state(context.seed, &model, &device)?;
                // Nobody needs the tensors a second time.
                context.resources.insert(resume.without_tensors());
                Some(state)
            }
            None => None,
        };
        let current = match &restored {
            Some(state) => Version { weights: state.weights.clone(), moments: state.moments.clone() },
            None => fresh(&config, &model, &device, context)?,
        };
        let count = current.weights.parameter_count();
        context.message(Level::Info, format!("{count} trainable parameters"));
        Ok(Box::new(Optimizing {
            adam: Adam { config: adam(&config) },
            schedule: schedule(&config),
            model,
            current,
            retired: Vec::new(),
            step: restored.as_ref().map_or(0, |state| state.step),
            samples: restored.as_ref().map_or(0, |state| state.samples),
            restored,
            gradients: wiring.input("gradients")?,
            weights: wiring.output("weights")?,
            states: wiring.output("states")?,
            results: context.results.clone(),
            on_nonfinite: if config.on_nonfinite == "skip" { Policy::Skip } else { Policy::Stop },
            context: context.clone(),
        }))
    }
}

/// The version that a run from the start begins with.
fn fresh(
    config: &Config,
    model: &Arc<dyn Model>,
    device: &Device,
    context: &StageContext,
) -> Result<Version, Failure> {
    let mut weights = match &config.init_from {
        Some(path) => crate::init_from::start(path, model, context, device)?,
        None => Weights::initial(model.clone(), context.seed, device, DType::F32)
            .map_err(|e| compute_failure("drawing the initial weights", &e))?,
    };
    if let Some(path) = &config.eigenvalues {
        crate::eigenvalues::apply(path, &mut weights)?;
    }
    let moments = Moments::zeros(&weights).map_err(|e| compute_failure("allocating Adam's moments", &e))?;
    Ok(Version { weights: Arc::new(weights), moments: Arc::new(moments) })
}

fn adam(config: &Config) -> AdamConfig {
    let norm = config.clip_norm;
    AdamConfig {
        beta1: config.beta1,
        beta2: config.beta2,
        epsilon: config.epsilon,
        epsilon_place: config.epsilon_place,
        l2: config.l2,
        l2_parameters: config.l2_parameters.clone(),
        clip: match config.clip.as_str() {
            "global" => Clip::Global { norm },
            "per_variable" => Clip::PerVariable { norm },
            _ => Clip::Off,
        },
    }
}

fn schedule(config: &Config) -> Schedule {
    let milestones = config.milestone_epochs.iter().copied().zip(config.milestone_factors.iter().copied());
    let kind = if config.milestone_epochs.is_empty() {
        ScheduleKind::Samples { decay: config.decay, every_samples: config.decay_samples }
    } else {
        ScheduleKind::Epochs { milestones: milestones.collect() }
    };
    Schedule { base: config.learning_rate, kind }
}

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
                Packet::End => return Ok(()),
            }
        }
    }
}

impl Optimizing {
    fn send_weights(&mut self) -> Result<(), StageError> {
        self.weights.send(WeightsVersion { version: self.step, weights: self.current.weights.clone() })
    }

    fn step(&mut self, update: Update) -> Result<(), StageError> {
        let learning_rate = self.schedule.rate(self.samples, update.epoch);
        let next = self
            .update(&update, learning_rate)
            .map_err(|e| compute_failure(&format!("optimizer step {}", update.step), &e))?;
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
        // The loop first: the next step can begin while the state is being written down.
        self.send_weights()?;
        if self.states.is_connected() {
            self.states.send(TrainState {
                step: self.step,
                epoch: update.epoch,
                progress: update.progress,
                samples: self.samples,
                learning_rate,
                weights: self.current.weights.clone(),
                moments: self.current.moments.clone(),
                metrics: None,
                measured: None,
                restored: false,
            })?;
        }
        Ok(())
    }

    fn set_results(&self) {
        self.results.set("steps", self.step as f64);
        self.results.set("examples", self.samples as f64);
        if self.on_nonfinite == Policy::Skip {
            // From what a checkpoint holds, so that a resumed run goes on counting.
            let skipped = self.step.saturating_sub(self.current.moments.updates);
            self.results.set("skipped_updates", skipped as f64);
        }
    }

    fn update(&mut self, update: &Update, learning_rate: f64) -> candle_core::Result<Attempt> {
        if !nonfinite::losses_are_finite(update)? {
            return Ok(Attempt::NotFinite(None));
        }
        let recycled = self.recycle();
        let Version { weights, moments } = &self.current;
        let Updated { weights: mut next, moments, finite } =
            self.adam.update_watched(weights, moments, &update.gradients, learning_rate, recycled)?;
        let shards: Vec<&BatchMoments> = update.moments.iter().map(AsRef::as_ref).collect();
        next.buffers = self.model.fold_moments(weights, &shards)?;
        let finite = finite && all_finite(&next.buffers)?;
        let next = Version { weights: Arc::new(next), moments: Arc::new(moments) };
        Ok(if finite { Attempt::Finite(next) } else { Attempt::NotFinite(Some(next)) })
    }

    /// Fails, or leaves the update out: the version stays, and what the update made becomes memory for the next one.
    fn not_finite(&mut self, update: &Update, discarded: Option<Version>) -> Result<(), StageError> {
        let next = discarded.as_ref().map(|v| (&*v.weights, &*v.moments));
        let number = self.step + 1;
        let culprit = nonfinite::first(&self.current.weights, update, self.context.seed, next)
            .map_err(|e| compute_failure(&format!("searching step {number} for what is not finite"), &e))?;
        // Weights that are not finite never become so by leaving updates out.
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
    fn recycle(&mut self) -> Option<(Weights, Moments)> {
        let free = |v: &Version| Arc::strong_count(&v.weights) == 1 && Arc::strong_count(&v.moments) == 1;
        let index = self.retired.iter().position(free)?;
        let Version { weights, moments } = self.retired.remove(index);
        Some((Arc::into_inner(weights)?, Arc::into_inner(moments)?))
    }
}

#[cfg(test)]
#[path = "optimizer_tests.rs"]
mod tests;
