//! `nextvlad_forward`, `logistic_forward` and so on, one for each model: the logits of a step's videos, with their tape
//! in training.
//!
//! Laws: in training, step n is computed with version n of the weights. The result does not depend on the number of
//! devices that the shards are spread over.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use framewise_pipeline::stage::upstream::Neighbour;
use framewise_pipeline::{
    CheckContext, Component, Estimate, Failure, Flows, Input, InputPort, KeySpec, KeyWord, Keys, Mark,
    Output, OutputPort, Packet, Ports, Remark, Settings, Site, Stage, StageContext, StageError, Survey,
    Upstream, Wiring,
};

use crate::device::per_device::per_device;
use crate::device::{self, Devices};
use crate::failure::compute_failure;
use crate::model::{Dropout, Evaluator, Model, Precision, Weights};
use crate::model_kit::device_batch::to_device;
use crate::model_kit::estimates::{self, StepOf};
use crate::model_kit::kind::{MODEL, ModelKind};
use crate::model_kit::weights_file::{check_precision, check_shapes};
use crate::payload::{ForwardPass, ForwardShard, Step, WeightsVersion};
use crate::run_state::parts::while_waiting;
use crate::training::pace::{Next, Pace};

/// The stage type of a model.
pub(crate) struct ModelForward(pub(crate) &'static ModelKind);

/// The keys besides those of the model, which depend on the model of the stage type.
#[derive(Keys)]
struct Config {
    /// train: batch statistics, dropout and a tape; evaluate: running statistics, no dropout, no tape.
    #[key(default = Mode::Train)]
    mode: Mode,
    /// The operands of products. f32; bf16, which is several times as fast on GPUs and on processors that multiply bf16; or, in
    /// mode evaluate and on the CPU, int8 and int8x2, whose weights are whole numbers in one or two planes of 8 bits. The weights that training
    /// updates, its moments, statistics and sums are f32 in any case.
    #[key(default = Precision::F32)]
    precision: Precision,
    #[key(flatten)]
    devices: Devices,
}

#[derive(Clone, Copy, PartialEq, Eq, KeyWord)]
enum Mode {
    Train,
    Evaluate,
}

struct Forward {
    model: Arc<dyn Model>,
    precision: Precision,
    devices: Vec<Device>,
    training: bool,
    seed: u64,
    /// The weights in use, with a copy on each other device.
    replicas: Option<Replicas>,
    /// The pace that several ranks keep, in training.
    pace: Option<Pace>,
    steps: Input<Step>,
    weights: Input<WeightsVersion>,
    output: Output<ForwardPass>,
    context: StageContext,
}

struct Replicas {
    version: u64,
    per_device: Vec<Arc<Weights>>,
    /// For evaluation, what was worked out of each copy, if the model works anything out.
    evaluators: Vec<Option<Box<dyn Evaluator>>>,
}

impl ModelForward {
    /// Remarks on the source of the videos where its keys do not fit the model's.
    fn misfits(&self, settings: &Settings, upstream: &Upstream<'_>) -> Vec<Remark> {
        let mut remarks = Vec::new();
        for key in ["max_frames", "classes"] {
            // The stages that hold weights have the keys of the model.
            let sends_videos = |stage: &&Neighbour<'_>| {
                stage.settings.get(MODEL).is_none() && stage.settings.get(key).is_some()
            };
            let Some(source) = upstream.iter().find(sends_videos) else { continue };
            if settings.get(key).is_none() {
                continue;
            }
            let (own, sent) = (settings.integer(key), source.settings.integer(key));
            let source_key = format!("{key} = {sent} of stage `{}`", source.name);
            if own < sent {
                let consequence = if key == "classes" {
                    "lets labels pass for which the model has no class"
                } else {
                    "lets videos pass that are longer than the model takes"
                };
                let text =
                    format!("{key} = {own} is less than {source_key}, which {consequence}: make them equal");
                remarks.push(Remark::error(key, text).against(source, key));
            } else if own > sent && key == "classes" {
                let text = format!(
                    "{key} = {own} is more than {source_key}, which refuses the labels of the other classes: make \
                     them equal"
                );
                remarks.push(Remark::warning(key, text).against(source, key));
            }
        }
        remarks
    }
}

impl Component for ModelForward {
    fn type_name(&self) -> &'static str {
        self.0.forward
    }

    fn doc(&self) -> &'static str {
        self.0.forward_doc
    }

    fn keys(&self) -> Vec<KeySpec> {
        let mut keys = Config::keys();
        keys.extend(self.0.keys());
        keys
    }

    fn ports(&self, settings: &Settings) -> Ports {
        Ports {
            inputs: vec![
                InputPort::new::<Step>("batches", self.0.videos::<Step>(settings)),
                InputPort::new::<WeightsVersion>("weights", self.0.weights(settings)),
            ],
            outputs: vec![OutputPort::of::<ForwardPass>("passes", 1)],
        }
    }

    fn check(&self, settings: &Settings, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        let mut problems = self.0.check(settings);
        let config: Config = settings.parse_or_default();
        problems.extend(config.devices.check());
        let precision = config.precision;
        if precision != Precision::F32 {
            let word = precision.word();
            if config.devices.need_a_gpu() && precision != Precision::Bf16 {
                let problem = format!(
                    "products in {word} are computed on the CPU only: write precision = \"bf16\" or \"f32\", or devices = \
                     [\"cpu\"]"
                );
                problems.push(("precision", problem));
            }
            let refused = self.0.model(settings).map(|model| model.in_precision(precision));
            if let Ok(Err(why)) = refused {
                problems.push(("precision", format!("{why}: write precision = \"f32\"")));
            } else if config.mode == Mode::Train && !precision.trains() {
                let problem = format!(
                    "{word} is for evaluation and prediction, and this stage trains: write precision = \"f32\" or \
                     \"bf16\", or mode = \"evaluate\""
                );
                problems.push(("precision", problem));
            }
        }
        problems
    }

    fn check_upstream(
        &self,
        settings: &Settings,
        upstream: &Upstream<'_>,
        _context: &CheckContext<'_>,
    ) -> Vec<Remark> {
        let Config { mode, .. } = settings.parse_or_default();
        let mut remarks = self.misfits(settings, upstream);
        if let Some(weights) = upstream.nearest("load_weights") {
            remarks.extend(self.0.disagreements(settings, weights));
        }
        let (Some(shard), Some(batch)) = (upstream.nearest("shard"), upstream.nearest("batch")) else {
            return remarks;
        };
        let (shards, videos) = (shard.settings.integer("shards"), batch.settings.integer("size"));
        // Batch normalisation keeps running statistics.
        let keeps = |model: Arc<dyn Model>| model.buffers().iter().any(|b| b.name.ends_with(".running_var"));
        let normalises = self.0.model(settings).is_ok_and(keeps);
        if mode != Mode::Train || !normalises || shards < 2 || videos >= 2 * shards {
            return remarks;
        }
        let text = format!(
            "a batch of {videos} videos in {shards} shards leaves shards of a single video (stages `{}` and `{}`), and \
             batch normalisation learns nothing from one video: make the batch larger or the shards fewer",
            batch.name, shard.name
        );
        remarks.push(Remark::warning("mode", text));
        remarks
    }

    fn survey(&self, site: &Site<'_>) -> Survey {
        let config: Config = site.settings.parse_or_default();
        let mut survey = config.devices.survey();
        // Inside an evaluation, the weights come from training.
        if let (Some(weights), false) = (site.upstream.nearest("load_weights"), site.check.is_inner) {
            let path = Path::new(weights.settings.text("path"));
            if let Err(failure) = check_precision(path, config.precision) {
                survey.remarks.push(Remark::failure("precision", &failure));
            }
        }
        survey
    }

    fn estimate(&self, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let config: Config = site.settings.parse_or_default();
        let model = self.0.model(site.settings).ok()?;
        let model = match config.precision {
            Precision::F32 => model,
            precision => model.in_precision(precision).ok()?,
        };
        let (trains, devices) = (config.mode == Mode::Train, config.devices.names());
        let of = StepOf { model, level: self.0.level, devices };
        Some(estimates::forward_step(&of, trains, site.upstream, flows))
    }

    fn finishes_on_request(&self, settings: &Settings) -> bool {
        settings.parse_or_default::<Config>().mode == Mode::Train
    }

    fn divides(&self, site: &Site<'_>) -> Result<(), String> {
        match site.settings.parse_or_default::<Config>().mode {
            Mode::Evaluate => Ok(()),
            Mode::Train => {
                Err("it works with the statistics of batches, and each rank makes batches of its own: set \
                                mode = \"evaluate\""
                    .to_owned())
            }
        }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let config: Config = settings.parse()?;
        let mut model = self.0.model(settings)?;
        if config.precision != Precision::F32 {
            model = model.in_precision(config.precision).map_err(Failure::config)?;
        }
        Ok(Box::new(Forward {
            model,
            precision: config.precision,
            devices: config.devices.open()?,
            training: config.mode == Mode::Train,
            seed: context.seed,
            replicas: None,
            pace: if config.mode == Mode::Train { Pace::of(context)? } else { None },
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
            let next = if self.training {
                // If an orderly end is asked for and no step is there, the input counts as ended too. The stage that
                // would send the next step may itself wait for something that never comes.
                let Some(next) = self.steps.recv_until_finish()? else { return self.end() };
                next
            } else {
                self.steps.recv()?
            };
            match next {
                Packet::Item(step) => {
                    if self.training && self.context.stop.finish_requested() {
                        // The stage ends as if the input had ended here, so that the steps done so far reach the
                        // checkpoint.
                        return self.end();
                    }
                    if !self.goes_on(Next::of(&step))? {
                        return Ok(());
                    }
                    if self.training || self.replicas.is_none() {
                        self.take_weights()?;
                    }
                    let pass = self.pass(&step)?;
                    if self.training {
                        // Whoever walks the tape holds the weights. Afterwards, the optimizer may write over them.
                        self.replicas = None;
                    }
                    self.output.send(pass)?;
                }
                Packet::Mark(mark) => {
                    let Mark::EpochEnd { epoch } = mark;
                    if !self.goes_on(Next::EpochEnd(epoch))? {
                        return Ok(());
                    }
                    self.output.mark(mark)?;
                }
                Packet::End => return self.end(),
            }
        }
    }
}

impl Forward {
    /// Whether all ranks go on with what this one has next. If not, the run ends in order here too.
    fn goes_on(&self, next: Next) -> Result<bool, Failure> {
        let Some(pace) = &self.pace else { return Ok(true) };
        let goes_on = while_waiting(&self.context, || pace.keep(next))?;
        if !goes_on {
            self.context.stop.request_finish();
        }
        Ok(goes_on)
    }

    /// Tells the other ranks that this one has nothing more.
    fn end(&self) -> Result<(), StageError> {
        if let Some(pace) = &self.pace {
            while_waiting(&self.context, || pace.keep(Next::End))?;
        }
        Ok(())
    }

    fn take_weights(&mut self) -> Result<(), StageError> {
        loop {
            match self.weights.recv()? {
                Packet::Item(sent) => {
                    // Weights that were exported for this evaluation are a part of their model.
                    let exported = &sent.weights.model;
                    let fits = !self.training && exported.exported() == Some(self.precision);
                    let model = if fits { exported.clone() } else { self.model.clone() };
                    if !fits {
                        check_shapes(&*model, &sent.weights)?;
                    }
                    let place = |device: &Device| match sent.on(device) {
                        Some(weights) => Ok(weights.clone()),
                        None => sent.weights.to_device(device).map(Arc::new),
                    };
                    let per_device: Vec<Arc<Weights>> = self
                        .devices
                        .iter()
                        .map(place)
                        .collect::<candle_core::Result<_>>()
                        .map_err(|e| compute_failure("copying the weights", &e))?;
                    let evaluated = if self.training { &[] } else { per_device.as_slice() };
                    let evaluators = evaluated.iter().map(|weights| model.evaluator(weights));
                    let evaluators = evaluators
                        .collect::<candle_core::Result<_>>()
                        .map_err(|e| compute_failure("preparing the weights", &e))?;
                    self.replicas = Some(Replicas { version: sent.version, per_device, evaluators });
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
            self.shard(step, shard, device, replicas)
        });
        let shards = computed
            .into_iter()
            .collect::<candle_core::Result<_>>()
            .map_err(|e| compute_failure(&format!("forward of step {}", step.index), &e))?;
        Ok(ForwardPass {
            step: step.index,
            epoch: step.epoch,
            progress: step.progress,
            shards,
            part: step.part,
        })
    }

    fn shard(
        &self,
        step: &Step,
        shard: usize,
        device: usize,
        replicas: &Replicas,
    ) -> candle_core::Result<ForwardShard> {
        let weights = &replicas.per_device[device];
        let batch = &step.shards[shard];
        let frames = to_device(batch, &self.devices[device])?;
        let (logits, moments) = if self.training {
            let shard = step.part.map_or(0, |part| part.first_shard) + shard;
            let dropout = Dropout::Seeded { seed: self.seed, step: step.index, shard: shard as u64 };
            let forward = self.model.forward_train(weights, &frames, &dropout)?;
            (forward.logits, Some(Arc::new(forward.moments)))
        } else {
            let evaluator = replicas.evaluators.get(device).and_then(Option::as_ref);
            let logits = match evaluator {
                Some(evaluator) => evaluator.logits(&frames)?,
                None => self.model.forward_eval(weights, &frames)?,
            };
            (logits, None)
        };
        // A step of many shards on a slow device may take longer than the watchdog waits.
        self.context.meter.touch();
        Ok(ForwardShard { device, batch: batch.clone(), weights: weights.clone(), logits, moments })
    }
}
