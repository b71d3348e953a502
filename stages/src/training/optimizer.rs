//! `optimizer`: Adam on the mean gradient of each step, on each device for a slice. The loop of the weights begins here.
//!
//! Laws: version 0 is sent before any input. Version n+1 is made from version n and the gradients of step n. A version
//! never changes while somebody else holds it, and no version with a number that is not finite is ever sent. Version n+1
//! is written over version n where nobody holds that, and otherwise into the buffers of an older version that nobody holds. A run that is resumed after step n begins with version n,
//! and with the state of that step on `states`.

mod updates;

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device};
use framewise_pipeline::KeySpec;
use framewise_pipeline::prelude::*;

use crate::collective::{Cut, to_bytes};
use crate::device::Devices;
use crate::failure::{collective_failure, compute_failure, link_failure};
use crate::model::{Model, Weights};
use crate::model_kit::division::Division;
use crate::model_kit::estimates;
use crate::model_kit::keys::{ModelKeys, SCALED, l2_parameters_by_model};
use crate::model_kit::kind::MODEL;
use crate::optim::{Adam, AdamConfig, Divided, ScheduleKeys};
use crate::payload::{Row, TrainState, Update, WeightsVersion};
use crate::ranks::Channel;
use crate::run_state::resume::Resume;
use crate::run_state::spread;
use crate::training::nonfinite::Policy;
use crate::training::partners::team;
use crate::training::traffic::Traffic;
use crate::training::{eigenvalues, init_from};
use crate::words::{self, plural};
use updates::Optimizing;

/// The stage type `optimizer`.
pub(crate) struct Optimizer;

#[derive(Keys)]
pub(crate) struct Config {
    #[key(flatten)]
    schedule: ScheduleKeys,
    #[key(flatten, map = with_defaults_of_models)]
    adam: AdamConfig,
    /// What happens when a loss, a gradient or what an update makes of it is NaN or infinite. stop: the run ends with
    /// the step, its videos and the first such tensor. skip: that update is left out, with a warning; weights and
    /// moments stay, the step counts, and `skipped_updates` of the results tells how often.
    #[key(default = Policy::Stop, free)]
    on_nonfinite: Policy,
    /// Starts from the weights of a checkpoint, run directory or .safetensors file, in place of drawn ones. Where they
    /// are for another number of classes, the classifier is drawn anew. Moments, schedule and data start afresh.
    init_from: Option<PathBuf>,
    /// The .npy file of the YouTube-8M PCA release: visual features are multiplied with sqrt(eigenvalue) + 1e-4,
    /// which reverses the whitening. The factors become part of the weights. Without it they are 1.
    #[key(only_with(MODEL, &SCALED))]
    eigenvalues: Option<PathBuf>,
    #[key(flatten)]
    devices: Devices,
    #[key(flatten)]
    model: ModelKeys,
}

/// Each model has its own parameters for L2.
fn with_defaults_of_models(key: KeySpec) -> KeySpec {
    if key.name == "l2_parameters" { l2_parameters_by_model(key) } else { key }
}

impl StageType for Optimizer {
    const NAME: &'static str = "optimizer";
    const DOC: &'static str = "Applies Adam to the mean gradient of each step and sends the next version of the weights. \
                               Its `weights` output is delayed: it sends version 0, drawn from the seed or read from \
                               init_from, before its first input, which closes the training loop. `states` carries \
                               everything a checkpoint stores, once a step.";
    type Config = Config;

    fn ports(config: &Config) -> Ports {
        Ports {
            inputs: vec![InputPort::of::<Update>("gradients")],
            outputs: vec![
                OutputPort::new::<WeightsVersion>("weights", config.model.weights(), 1).delayed(),
                OutputPort::of::<TrainState>("states", 1),
            ],
        }
    }

    fn check(config: &Config, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        let mut problems = config.model.check();
        problems.extend(config.devices.check());
        let (epochs, factors) = (&config.schedule.milestone_epochs, &config.schedule.milestone_factors);
        if epochs.len() != factors.len() {
            problems.push(("milestone_factors", "one factor is needed for each of milestone_epochs".into()));
        }
        if config.init_from.is_some() && config.eigenvalues.is_some() {
            problems.push(("eigenvalues", "the weights of init_from bring their own factors".into()));
        }
        if !epochs.is_sorted_by(|a, b| a < b) {
            problems.push(("milestone_epochs", "milestones must ascend".into()));
        }
        let names: Vec<_> = config.model.model().map(|m| m.parameters()).unwrap_or_default();
        let unknown = config.adam.l2_parameters.iter().filter(|name| !names.iter().any(|p| p.name == **name));
        if !names.is_empty() {
            problems.extend(unknown.map(|n| ("l2_parameters", format!("the model has no parameter `{n}`"))));
        }
        problems
    }

    fn check_upstream(config: &Config, upstream: &Upstream<'_>, _context: &CheckContext<'_>) -> Vec<Remark> {
        let forward = upstream.iter().find(|stage| stage.type_name.ends_with("_forward"));
        let mut remarks = forward.map_or_else(Vec::new, |forward| config.model.disagreements(forward));
        remarks.extend(other_slices(&config.devices, upstream));
        let rate = config.schedule.learning_rate;
        if rate == 0.0 {
            remarks.push(Remark::warning("learning_rate", "with a learning rate of 0 nothing is learned"));
        } else if rate > 1.0 {
            let text =
                format!("a learning rate of {rate} is far above those that Adam works with (1e-5 to 1e-1)");
            remarks.push(Remark::warning("learning_rate", text));
        }
        let source = upstream.iter().find(|stage| stage.settings.get("epochs").is_some());
        if let (Some(source), Some(last)) = (source, config.schedule.milestone_epochs.last()) {
            let epochs = source.settings.integer("epochs");
            let never: Vec<_> =
                config.schedule.milestone_epochs.iter().filter(|epoch| **epoch >= epochs).collect();
            if *last >= epochs {
                let never = never.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let text = format!(
                    "the milestones {never} are never reached: stage `{}` has {}, which are counted from 0",
                    source.name,
                    plural(epochs, "epoch")
                );
                remarks.push(Remark::warning("milestone_epochs", text));
            }
        }
        remarks
    }

    fn survey(config: &Config, site: &Site<'_>) -> Survey {
        let mut survey = config.devices.survey();
        // A resumed run takes its weights from the checkpoint. A model that cannot be was told by `check`.
        let (Ok(model), false) = (config.model.model(), site.resumes) else { return survey };
        let init_from = config.init_from.iter().map(|path| ("init_from", init_from::survey(path, &*model)));
        let eigenvalues = config.eigenvalues.iter().map(|path| ("eigenvalues", eigenvalues::survey(path)));
        for (key, found) in init_from.chain(eigenvalues) {
            match found {
                Ok(bytes) => survey.reads(1, bytes),
                Err(failure) => survey.remarks.push(Remark::failure(key, &failure)),
            }
        }
        survey
    }

    fn estimate(config: &Config, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let model = config.model.model().ok()?;
        let size =
            |shape: &[usize]| shape.iter().map(|n| *n as u64).product::<u64>() * estimates::FLOAT_BYTES;
        let parameters: u64 = model.parameters().iter().map(|parameter| size(&parameter.shape)).sum();
        let buffers = model.buffers().iter().map(|buffer| size(&buffer.shape)).sum::<u64>();
        let weights = parameters + buffers;
        let state = weights + 2 * parameters;
        let names = config.devices.names();
        let shapes = model.parameters().into_iter().map(|parameter| parameter.shape.into());
        let division = Division::new(shapes, names);
        let mut estimate = Estimate::default().counts("parameters", parameters / estimates::FLOAT_BYTES);
        let mut memories: Vec<Option<&str>> = Vec::new();
        for memory in names.iter().map(|name| estimates::gpu(name)) {
            if !memories.contains(&memory) {
                memories.push(memory);
                estimate = estimate.holds_on("weights", weights, memory);
                if !estimates::updates_in_place(names) {
                    estimate = estimate.holds_on("weights of the next step", weights, memory);
                }
            }
        }
        estimate = division.holds("Adam's moments", 2, estimate);
        if !estimates::updates_in_place(names) {
            estimate = division.holds("Adam's moments of the next step", 2, estimate);
        }
        // Where the forward pass is computed on other devices, they get a copy.
        let forward = estimates::forward(site.upstream).map(estimates::device_names).unwrap_or_default();
        for gpu in forward.iter().filter_map(|name| estimates::gpu(name)) {
            if !memories.contains(&Some(gpu)) {
                memories.push(Some(gpu));
                estimate = estimate.holds_on("weights for the forward pass", weights, Some(gpu));
            }
        }
        let estimate = division.takes_weights(buffers, estimate);
        // The newest version in an edge is the one that this stage holds itself.
        let flow =
            |bytes| Flow { newest_is_held: true, ..estimates::one_for_one(flows, "gradients", Some(bytes)) };
        Some(estimate.sends("weights", flow(weights)).sends("states", flow(state)))
    }

    fn build(config: Config, wiring: &mut Wiring, context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        let model = config.model.model()?;
        let devices = config.devices.open_named()?;
        let shapes = model.parameters().into_iter().map(|parameter| parameter.shape.into());
        let channel = spread::channel(context)?;
        let team = team(&devices, channel.as_ref())?;
        let cut = Cut::new(shapes, team.size());
        let divided = Divided::new(Adam::new(config.adam.clone()), team, Arc::new(cut));
        let (current, restored) = match context.resources.get::<Resume>() {
            Some(resume) => {
                let (state, version) = resume.state(context.seed, &model, &devices[0].1, &divided)?;
                // Nobody needs the tensors a second time.
                context.resources.insert(resume.without_tensors());
                (version, Some(state))
            }
            None => {
                let weights = fresh(&config, &model, &devices[0].1, context)?;
                let version = divided.start(weights);
                (version.map_err(|e| collective_failure("making the first version", &e))?, None)
            }
        };
        if let Some(channel) = &channel {
            agree_on_weights(channel, current.weights(), context)?;
        }
        let count = current.weights().parameter_count();
        context.message(Level::Info, format!("{} trainable parameters", words::count(count as u64)));
        Ok(Box::new(Optimizing {
            channel,
            traffic: Traffic::new(divided.team(), context),
            divided,
            schedule: config.schedule.into(),
            model,
            current,
            retired: Vec::new(),
            row: Row::default(),
            sent: None,
            bounds: None,
            step: restored.as_ref().map_or(0, |state| state.step),
            samples: restored.as_ref().map_or(0, |state| state.samples),
            restored,
            gradients: wiring.input("gradients")?,
            weights: wiring.output("weights")?,
            states: wiring.output("states")?,
            results: context.results.clone(),
            on_nonfinite: config.on_nonfinite,
            context: context.clone(),
        }))
    }
}

/// Refuses to begin where another rank begins with other weights.
fn agree_on_weights(channel: &Channel, weights: &Weights, context: &StageContext) -> Result<(), Failure> {
    let sum = checksum(weights).map_err(|e| compute_failure("comparing the weights with other ranks", &e))?;
    let all = channel.all_gather(&sum.to_le_bytes());
    let all = all.map_err(|e| link_failure("comparing the weights with other ranks", &e))?;
    let Some(rank) = all.iter().position(|theirs| *theirs != sum.to_le_bytes()) else { return Ok(()) };
    Err(Failure::config(format!(
        "{} begins with other weights than rank {}: its checkpoint or init_from is another file, or its processor draws other \
         numbers",
        spread::named(context, rank),
        channel.rank()
    )))
}

/// The CRC-32C of all tensors of the weights.
fn checksum(weights: &Weights) -> candle_core::Result<u32> {
    let parameters = weights.parameters.iter().map(|parameter| parameter.as_detached_tensor());
    parameters
        .chain(weights.buffers.iter().cloned())
        .try_fold(0, |sum, tensor| Ok(crc32c::crc32c_append(sum, &to_bytes(&[tensor])?)))
}

/// What is wrong where the stage that sums the gradients does so in other slices than those that this stage updates.
fn other_slices(devices: &Devices, upstream: &Upstream<'_>) -> Option<Remark> {
    let reducing = upstream.nearest("all_reduce")?;
    let theirs = reducing.settings.get("devices")?.as_array()?;
    if theirs.iter().map(|name| name.as_str()).eq(devices.names().iter().map(|name| Some(name.as_str()))) {
        return None;
    }
    let text = format!(
        "these devices are not those of stage `{}`, and each device updates the slice of the parameters whose gradients it \
         summed: give both stages the same `devices`",
        reducing.name
    );
    Some(Remark::error("devices", text).against(reducing, "devices"))
}

/// The weights with which a run begins that is not resumed.
fn fresh(
    config: &Config,
    model: &Arc<dyn Model>,
    device: &Device,
    context: &StageContext,
) -> Result<Weights, Failure> {
    let mut weights = match &config.init_from {
        Some(path) => init_from::start(path, model, context, device)?,
        None => Weights::initial(model.clone(), context.seed, device, DType::F32)
            .map_err(|e| compute_failure("drawing the initial weights", &e))?,
    };
    if let Some(path) = &config.eigenvalues {
        eigenvalues::apply(path, &mut weights)?;
    }
    Ok(weights)
}

#[cfg(test)]
mod tests;
