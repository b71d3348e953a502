//! What several stages need for the estimate of their memory: the sizes that the stages before them fix.

use std::sync::Arc;

use candle_core::Shape;
use framewise_pipeline::edge::payload::TensorType;
use framewise_pipeline::stage::upstream::Neighbour;
use framewise_pipeline::{Dim, Estimate, Flow, Flows, PayloadType, Ports, Upstream};

use super::kind::{Level, MODELS};
use crate::device;
use crate::model::{Model, Precision, ShardSize};

/// The bytes of an f32 number.
pub(crate) const FLOAT_BYTES: u64 = 4;

/// The number of values of all tensors of a payload, a size that is not known beforehand counting once. `None` for a
/// payload that names no tensors.
pub(crate) fn numbers(payload: &PayloadType) -> Option<u64> {
    let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { 1 };
    let numbers =
        payload.tensors.iter().map(|tensor| tensor.dims.iter().map(size).fold(1, u64::saturating_mul));
    (!payload.tensors.is_empty()).then(|| numbers.fold(0, u64::saturating_add))
}

/// The payloads of the ports that carry weights.
fn weights(ports: &Ports) -> impl Iterator<Item = &PayloadType> {
    let outputs = ports.outputs.iter().filter(|port| port.name == "weights").map(|port| &port.payload);
    let inputs = ports.inputs.iter().filter(|port| port.name == "weights").map(|port| &port.payload);
    outputs.chain(inputs)
}

/// The parameters of the model whose weights pass these ports. `None` where no port carries weights of known sizes.
pub(crate) fn parameters(ports: &Ports) -> Option<u64> {
    weights(ports).find_map(numbers)
}

/// The shapes of the parameters of the model whose weights pass these ports. `None` where no port carries weights of
/// known sizes.
pub(crate) fn parameter_shapes(ports: &Ports) -> Option<Vec<Shape>> {
    let size = |dim: &Dim| if let Dim::Fixed(size) = dim { usize::try_from(*size).ok() } else { None };
    let of =
        |tensor: &TensorType| Some(Shape::from(tensor.dims.iter().map(size).collect::<Option<Vec<_>>>()?));
    let tensors = &weights(ports).find(|payload| !payload.tensors.is_empty())?.tensors;
    tensors.iter().map(of).collect()
}

/// The devices that a stage names in its key `devices`.
pub(crate) fn device_names(stage: &Neighbour<'_>) -> Vec<String> {
    let names = stage.settings.get("devices").and_then(|value| value.as_array());
    names.into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

/// The forward stage before a stage.
pub(crate) fn forward<'u, 'a>(upstream: &'u Upstream<'a>) -> Option<&'u Neighbour<'a>> {
    upstream.iter().find(|stage| stage.type_name.ends_with("_forward"))
}

/// The bytes of the parameters of the model that the forward stage before a stage computes.
pub(crate) fn parameter_bytes(upstream: &Upstream<'_>) -> Option<u64> {
    Some(parameters(forward(upstream)?.ports)?.saturating_mul(FLOAT_BYTES))
}

/// The number of shards into which the stages before a stage split a step.
pub(crate) fn shards(upstream: &Upstream<'_>) -> u64 {
    upstream
        .iter()
        .filter(|stage| stage.type_name == "shard")
        .map(|stage| stage.settings.integer("shards"))
        .product()
}

/// The bytes of a step's scores, f32 [videos, classes]. `None` where no stage before fixes both sizes.
pub(crate) fn score_bytes(upstream: &Upstream<'_>) -> Option<u64> {
    let videos = upstream.nearest("batch")?.settings.integer("size");
    let classes = forward(upstream)?.settings.integer("classes");
    Some(videos.saturating_mul(classes).saturating_mul(FLOAT_BYTES))
}

/// The bytes of a training state, that is of the weights and of Adam's two moments of each. `None` where no optimizer
/// with a model of known sizes is before a stage.
pub(crate) fn state_bytes(upstream: &Upstream<'_>) -> Option<u64> {
    Some(parameters(upstream.nearest("optimizer")?.ports)?.saturating_mul(3 * FLOAT_BYTES))
}

/// Whether an optimizer on these devices writes the next version of weights and moments over the last one where no stage
/// holds that.
pub(crate) fn updates_in_place(devices: &[String]) -> bool {
    matches!(devices, [only] if gpu(only).is_none())
}

/// The bytes of the state that an optimizer makes while the stage with this upstream holds the one before, where it would
/// otherwise write over that. It is 0 for all other stages.
pub(crate) fn next_state_bytes(upstream: &Upstream<'_>, state: Option<u64>) -> Option<u64> {
    let sender = upstream.iter().next().filter(|stage| stage.type_name == "optimizer");
    if sender.is_some_and(|sender| updates_in_place(&device_names(sender))) { state } else { Some(0) }
}

/// The flow of what a stage makes of each item of an input, of these bytes.
pub(crate) fn one_for_one(flows: &Flows, input: &str, bytes: Option<u64>) -> Flow {
    Flow { newest_is_held: false, ..flows.of(input) }.of_bytes(bytes)
}

/// The computation of a step by a model.
pub(crate) struct StepOf<'a> {
    pub(crate) model: Arc<dyn Model>,
    pub(crate) level: Level,
    /// The names of the devices.
    pub(crate) devices: &'a [String],
}

impl StepOf<'_> {
    /// The size of the largest shard of a step with these batches.
    fn shard_size(&self, upstream: &Upstream<'_>, batches: Flow) -> Option<ShardSize> {
        let videos = upstream.nearest("batch")?.settings.integer("size");
        let count = shards(upstream);
        let rows = match self.level {
            Level::Frame => batches.bytes? / (self.model.rgb_size() + self.model.audio_size()) as u64,
            Level::Video => videos,
        };
        Some(ShardSize { videos: videos.div_ceil(count), rows: rows.div_ceil(count) })
    }

    /// The device of each shard; `None` for the CPU.
    fn places(&self, upstream: &Upstream<'_>) -> Vec<Option<&str>> {
        let count = shards(upstream) as usize;
        let place = |shard| self.devices.get(device::place(shard, count, self.devices.len()));
        (0..count).map(|shard| gpu(place(shard)?)).collect()
    }
}

/// The name of a device, unless it is the CPU.
pub(crate) fn gpu(name: &str) -> Option<&str> {
    Some(name).filter(|name| *name != "cpu")
}

/// The name of what is held for each shard.
fn of_shard(what: &str, shard: usize, shards: usize) -> String {
    if shards > 1 { format!("{what} of shard {shard}") } else { what.to_owned() }
}

/// The estimate of a forward stage: the batch of a step, and what is computed of each shard on its device. In evaluation
/// there is a copy of the weights on each device but the CPU. In training, the optimizer counts them.
pub(crate) fn forward_step(
    of: &StepOf<'_>,
    trains: bool,
    upstream: &Upstream<'_>,
    flows: &Flows,
) -> Estimate {
    let batches = flows.of("batches");
    let size = of.shard_size(upstream, batches);
    let places = of.places(upstream);
    let mut estimate = Estimate::default().holds("the batch of the step", batches.bytes);
    for (shard, device) in places.iter().enumerate() {
        // What a step holds is known for the kernels of the CPU.
        let bytes = size.filter(|_| device.is_none()).and_then(|size| of.model.step_bytes(size));
        let bytes = bytes.map(|bytes| if trains { bytes.tape } else { bytes.evaluation });
        estimate = estimate.holds_on(of_shard("activations", shard, places.len()), bytes, *device);
    }
    let weights: usize = of.model.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum();
    for device in of.devices.iter().filter_map(|name| gpu(name)).filter(|_| !trains) {
        estimate = estimate.holds_on("weights", weights as u64 * FLOAT_BYTES, Some(device));
    }
    // The logits go along with the batch.
    let scores = upstream.nearest("batch").map(|batch| {
        batch.settings.integer("size").saturating_mul(of.model.classes() as u64).saturating_mul(FLOAT_BYTES)
    });
    let passes = batches.bytes.zip(scores).map(|(batch, scores)| batch + scores);
    estimate.sends("passes", one_for_one(flows, "batches", passes))
}

/// The estimate of a backward stage: the gradients of every shard on its device, and what is held on the way to them. On
/// each device, one shard is computed at a time.
pub(crate) fn backward_step(upstream: &Upstream<'_>, flows: &Flows) -> Option<Estimate> {
    let forward = forward(upstream)?;
    let kind = MODELS.iter().find(|kind| kind.forward == forward.type_name)?;
    let model = kind.model(forward.settings).ok()?;
    let model = match forward.settings.text("precision") {
        "bf16" => model.in_precision(Precision::Bf16).ok()?,
        _ => model,
    };
    let devices = device_names(forward);
    let of = StepOf { model, level: kind.level, devices: &devices };
    let places = of.places(upstream);
    let mut estimate = Estimate::default();
    for (shard, device) in places.iter().enumerate() {
        let name = of_shard("gradients", shard, places.len());
        estimate = estimate.holds_on(name, parameter_bytes(upstream), *device);
    }
    let size = of.shard_size(upstream, flows.of("losses"));
    for name in &devices {
        let bytes = size.filter(|_| gpu(name).is_none()).and_then(|size| of.model.step_bytes(size));
        estimate = estimate.holds_on("values on the way back", bytes.map(|bytes| bytes.backward), gpu(name));
    }
    Some(estimate.sends("gradients", one_for_one(flows, "losses", parameter_bytes(upstream))))
}
