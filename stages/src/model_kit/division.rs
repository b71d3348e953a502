//! The division of a step's collective work among devices, as a plan tells it: what each device holds of it and takes from
//! the others.

use candle_core::Shape;
use framewise_pipeline::{Estimate, Upstream};

use super::estimates::{FLOAT_BYTES, device_names, forward, gpu, parameter_shapes};
use crate::collective::Cut;
use crate::device::place;

/// The parameters of a model in slices, one for each device.
pub(crate) struct Division<'a> {
    cut: Cut,
    devices: &'a [String],
}

impl<'a> Division<'a> {
    /// The division of parameters of these shapes among these devices, at least one.
    pub(crate) fn new(shapes: impl IntoIterator<Item = Shape>, devices: &'a [String]) -> Self {
        Self { cut: Cut::new(shapes, devices.len()), devices }
    }

    /// The division among `devices` of the parameters of the model that the forward stage before a stage computes. `None`
    /// where their sizes are not known.
    pub(crate) fn of_model(upstream: &Upstream<'_>, devices: &'a [String]) -> Option<Self> {
        Some(Self::new(parameter_shapes(forward(upstream)?.ports)?, devices))
    }

    /// What to call device `device` beside the others.
    fn label(&self, device: usize) -> String {
        format!("device {device} ({})", self.devices[device])
    }

    /// The name of the part of `what` that device `device` holds.
    fn part(&self, what: &str, device: usize) -> String {
        if self.devices.len() == 1 { what.to_owned() } else { format!("{what}, device {device}") }
    }

    fn slice_bytes(&self, device: usize) -> u64 {
        self.cut.elements(device) as u64 * FLOAT_BYTES
    }

    /// Adds what each device holds of `each` tensors for each parameter.
    pub(crate) fn holds(&self, what: &str, each: u64, mut estimate: Estimate) -> Estimate {
        for (device, name) in self.devices.iter().enumerate() {
            let bytes = each * self.slice_bytes(device);
            estimate = estimate.holds_on(self.part(what, device), bytes, gpu(name));
        }
        estimate
    }

    /// Adds the gradients of other devices' shards that each device takes in a step of `shards` shards.
    pub(crate) fn takes_gradients(&self, shards: usize, mut estimate: Estimate) -> Estimate {
        let count = self.devices.len();
        for device in self.others() {
            let own = (0..shards).filter(|shard| place(*shard, shards, count) == device).count();
            let bytes = (shards - own) as u64 * self.slice_bytes(device);
            estimate = estimate.takes("gradients", self.label(device), bytes);
        }
        estimate
    }

    /// Adds the slices of new weights that each device takes from the others in a step, and the buffers, of `buffers`
    /// bytes, that all take from the first one.
    pub(crate) fn takes_weights(&self, buffers: u64, mut estimate: Estimate) -> Estimate {
        let total = self.cut.total() as u64 * FLOAT_BYTES;
        for device in self.others() {
            let buffers = if device == 0 { 0 } else { buffers };
            let bytes = total - self.slice_bytes(device) + buffers;
            estimate = estimate.takes("weights", self.label(device), bytes);
        }
        estimate
    }

    /// The devices, if there are several.
    fn others(&self) -> std::ops::Range<usize> {
        if self.devices.len() == 1 { 0..0 } else { 0..self.devices.len() }
    }

    /// The bytes of the tensors that lie in more than one slice. Whoever wants such a tensor whole puts it together.
    fn cut_bytes(&self) -> u64 {
        let slices = 0..self.cut.count();
        let spans = slices.flat_map(|slice| self.cut.spans(slice)).filter(|span| !span.is_whole);
        spans.map(|span| span.elements.len() as u64 * FLOAT_BYTES).sum()
    }
}

/// The bytes of the moments that are put together to be written whole, of the optimizer before a stage. 0 where there is
/// none or its model is not known.
pub(crate) fn joined_moments(upstream: &Upstream<'_>) -> u64 {
    let optimizer = upstream.nearest("optimizer");
    let joined = optimizer.and_then(|optimizer| {
        let names = device_names(optimizer);
        Some(2 * Division::new(parameter_shapes(optimizer.ports)?, &names).cut_bytes())
    });
    joined.unwrap_or(0)
}
