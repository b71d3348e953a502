//! Where the numbers of a training step stopped being finite.
//!
//! Law: the culprit is the first in the order of computation: weights, features, what the forward pass computes from
//! them, logits, loss, the gradients in the model's order, the update. Nothing here runs while all is finite.

use std::fmt;

use candle_core::{DType, Device, Tensor};
use framewise_pipeline::{ErrorKind, Failure};

use crate::forward::to_device;
use crate::loss::dense_labels;
use crate::model::{Dropout, Weights};
use crate::optim::{Moments, all_finite};
use crate::payload::{Batch, Update};

/// What is done with a step whose numbers are not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The run ends.
    Stop,
    /// Its update is left out.
    Skip,
}

/// Where a tensor of a step comes from, in the order of computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The version of the weights that the step began with.
    Weights,
    /// What the forward stage of this model computed.
    Forward(&'static str),
    /// What `loss` computed.
    Loss,
    /// What `backward` and `all_reduce` computed.
    Gradients,
    /// What `optimizer` made of them.
    Update,
}

impl Origin {
    /// The stage type.
    fn stage(self) -> String {
        match self {
            Origin::Weights | Origin::Update => "optimizer".to_owned(),
            Origin::Forward(model) => format!("{model}_forward"),
            Origin::Loss => "loss".to_owned(),
            Origin::Gradients => "backward".to_owned(),
        }
    }
}

/// The first tensor of a step that is not finite.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Culprit {
    /// Where it was computed.
    pub(crate) origin: Origin,
    /// Its name.
    pub(crate) tensor: String,
    /// The shard it belongs to.
    pub(crate) shard: Option<usize>,
    /// How many of its numbers are not finite, of how many.
    count: (usize, usize),
    /// Place and value of the first one.
    first: (Vec<usize>, f64),
    /// A video that the first one belongs to, where a row is a video.
    video: Option<String>,
}

impl Culprit {
    /// The culprit that `tensor` is, if it is one.
    fn of(origin: Origin, name: &str, tensor: &Tensor) -> candle_core::Result<Option<Self>> {
        if all_finite([tensor])? {
            return Ok(None);
        }
        let values = tensor.detach().to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?;
        let values = values.to_vec1::<f64>()?;
        let bad = values.iter().filter(|v| !v.is_finite()).count();
        let Some(mut index) = values.iter().position(|v| !v.is_finite()) else { return Ok(None) };
        let value = values[index];
        let mut place = Vec::new();
        for dim in tensor.dims().iter().rev() {
            place.push(index % dim);
            index /= dim;
        }
        place.reverse();
        let tensor = name.to_owned();
        let (count, first) = ((bad, values.len()), (place, value));
        Ok(Some(Self { origin, tensor, shard: None, count, first, video: None }))
    }

    fn in_shard(mut self, shard: usize, batch: &Batch, row_is_a_video: bool) -> Self {
        self.shard = Some(shard);
        if row_is_a_video {
            self.video = self.first.0.first().and_then(|row| batch.ids.get(*row)).cloned();
        }
        self
    }

    /// Whether the step began with it: no later update makes it good.
    pub(crate) fn is_in_the_weights(&self) -> bool {
        self.origin == Origin::Weights
    }

    /// 65 where what the step was given is to blame, 78 where training by these settings led there.
    fn kind(&self) -> ErrorKind {
        if self.is_in_the_weights() || self.tensor.ends_with(".features") {
            ErrorKind::Data
        } else {
            ErrorKind::Config
        }
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((bad, all), (place, value)) = (self.count, &self.first);
        write!(f, "`{}` of {}", self.tensor, self.origin.stage())?;
        if let Some(shard) = self.shard {
            write!(f, " in shard {shard}")?;
        }
        if all > 1 {
            write!(f, " ({bad} of {all} numbers, the first {value} at {place:?}")?;
        } else {
            write!(f, " ({value}")?;
        }
        if let Some(video) = &self.video {
            write!(f, ", video {video:?}")?;
        }
        f.write_str(")")
    }
}

/// Whether the loss of every shard is finite.
pub(crate) fn losses_are_finite(update: &Update) -> candle_core::Result<bool> {
    all_finite(&update.losses)
}

/// The first tensor of `weights` that is not finite, parameters first.
pub(crate) fn in_weights(weights: &Weights) -> candle_core::Result<Option<Culprit>> {
    let tensors = || weights.parameters.iter().map(|p| p.as_tensor()).chain(&weights.buffers);
    if all_finite(tensors())? {
        return Ok(None);
    }
    first_of(Origin::Weights, weights.named_tensors())
}

fn first_of(
    origin: Origin,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
) -> candle_core::Result<Option<Culprit>> {
    for (name, tensor) in tensors {
        if let Some(culprit) = Culprit::of(origin, &name, &tensor)? {
            return Ok(Some(culprit));
        }
    }
    Ok(None)
}

/// The first culprit of a step that was computed with `weights` and gave `update`; `next` is what the update made, where
/// it came to that. The forward pass is computed once more for it. `None` when everything is finite after all.
pub(crate) fn first(
    weights: &Weights,
    update: &Update,
    seed: u64,
    next: Option<(&Weights, &Moments)>,
) -> candle_core::Result<Option<Culprit>> {
    if let Some(culprit) = in_weights(weights)? {
        return Ok(Some(culprit));
    }
    for (shard, batch) in update.batches.iter().enumerate() {
        if let Some(culprit) = in_shard(weights, update, seed, shard, batch)? {
            return Ok(Some(culprit));
        }
    }
    let names: Vec<String> = weights.model.parameters().into_iter().map(|p| p.name).collect();
    let gradients = names.iter().zip(&update.gradients.tensors);
    let gradients = gradients.map(|(name, tensor)| (format!("gradient of {name}"), tensor.clone()));
    if let Some(culprit) = first_of(Origin::Gradients, gradients)? {
        return Ok(Some(culprit));
    }
    let Some((next, moments)) = next else { return Ok(None) };
    let seconds = names.iter().zip(&moments.second);
    let seconds = seconds.map(|(name, tensor)| (format!("second moment of {name}"), tensor.clone()));
    let updated = next.named_tensors().into_iter().map(|(name, tensor)| (format!("updated {name}"), tensor));
    first_of(Origin::Update, seconds.chain(updated))
}

/// The forward pass and the loss of one shard.
fn in_shard(
    weights: &Weights,
    update: &Update,
    seed: u64,
    shard: usize,
    batch: &Batch,
) -> candle_core::Result<Option<Culprit>> {
    let device = weights.device().cloned().unwrap_or(Device::Cpu);
    let frames = to_device(batch, &device)?;
    let dropout = Dropout::Seeded { seed, step: update.step, shard: shard as u64 };
    let computed = weights.model.intermediates(weights, &frames, &dropout)?;
    for (name, tensor) in &computed {
        if let Some(culprit) = Culprit::of(Origin::Forward(weights.model.name()), name, tensor)? {
            return Ok(Some(culprit.in_shard(shard, batch, tensor.dims().first() == Some(&batch.videos()))));
        }
    }
    if let Some((_, logits)) = computed.last() {
        let labels = dense_labels(batch, weights.model.classes(), &device)?.to_dtype(logits.dtype())?;
        let losses = weights.model.loss(logits, &labels)?;
        if let Some(culprit) = Culprit::of(Origin::Loss, "losses of the videos", &losses)? {
            return Ok(Some(culprit.in_shard(shard, batch, true)));
        }
    }
    // The mean over videos may overflow by itself. Or the numbers of this pass are not those of the first, on a device
    // whose sums have no fixed order.
    let loss = update
        .losses
        .get(shard)
        .map(|loss| Culprit::of(Origin::Loss, "mean loss", loss))
        .transpose()?
        .flatten();
    Ok(loss.map(|culprit| culprit.in_shard(shard, batch, false)))
}

/// What is said of a step whose numbers are not finite; `number` counts steps from 1, as metrics.jsonl does.
pub(crate) fn describe(number: u64, update: &Update, culprit: Option<&Culprit>) -> String {
    let culprit = culprit.map_or_else(
        || "which did not come back when the step was computed once more: a fault of the device?".to_owned(),
        |culprit| format!("first {culprit}"),
    );
    let ids: Vec<&str> = update.batches.iter().flat_map(|b| b.ids.iter().map(String::as_str)).collect();
    format!(
        "step {number} (epoch {}) has numbers that are not finite, {culprit}; its videos: {}",
        update.epoch,
        ids.join(", ")
    )
}

/// The failure of a run that stops there.
pub(crate) fn failure(number: u64, update: &Update, culprit: Option<&Culprit>) -> Failure {
    let kind = culprit.map_or(ErrorKind::Internal, Culprit::kind);
    let hint = match kind {
        ErrorKind::Config => {
            "; a lower learning_rate or clip may keep them finite, on_nonfinite = \"skip\" leaves such steps out"
        }
        _ => "",
    };
    Failure::new(kind, describe(number, update, culprit) + hint)
}

#[cfg(test)]
#[path = "nonfinite_tests.rs"]
mod tests;
