//! The search for the place at which the numbers of a training step stopped being finite.
//!
//! Law: the culprit is the first tensor in the order of computation: weights, features, what the forward pass computes
//! from them, logits, loss, the gradients in the model's order, the update. Nothing here runs while all numbers are
//! finite.

use candle_core::Device;
use framewise_pipeline::{ErrorKind, Failure, KeyWord, StageContext};

use crate::failure::link_failure;
use crate::model::{Dropout, Weights};
use crate::model_kit::culprit::{Culprit, Origin, first_of, in_weights};
use crate::model_kit::device_batch::to_device;
use crate::model_kit::predictions::dense_labels;
use crate::optim::{DividedMoments, all_finite};
use crate::payload::{Batch, Update};
use crate::ranks::Channel;
use crate::run_state::spread;
use crate::words::{count, epoch};

/// What is done with a step whose numbers are not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, KeyWord)]
pub(crate) enum Policy {
    /// The run ends.
    Stop,
    /// The update of the step is left out.
    Skip,
}

/// Whether the loss of every shard is finite.
pub(crate) fn losses_are_finite(update: &Update) -> candle_core::Result<bool> {
    all_finite(&update.losses)
}

/// Finds the culprit of a step that was computed with `weights` and gave `update`. `next` is what the update made, if
/// there was an update. The forward pass is computed once more for this. `None` when everything is finite after all.
pub(crate) fn first(
    weights: &Weights,
    update: &Update,
    seed: u64,
    next: Option<(&Weights, &DividedMoments)>,
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
    if update.part.is_some() {
        // This rank has a slice of the mean alone, so the tensors are seen in parts.
        let spans = update.gradients.cut.spans(update.gradients.first).iter().zip(update.gradients.parts());
        let parts = spans.map(|(span, part)| {
            let name = names.get(span.tensor).map_or("?", String::as_str);
            (format!("a part of the gradient of {name}"), part.clone())
        });
        return first_of(Origin::Gradients, parts);
    }
    let gradients = names.iter().zip(update.gradients.tensors()?);
    let gradients = gradients.map(|(name, tensor)| (format!("gradient of {name}"), tensor));
    if let Some(culprit) = first_of(Origin::Gradients, gradients)? {
        return Ok(Some(culprit));
    }
    let Some((next, moments)) = next else { return Ok(None) };
    let seconds = names.iter().zip(moments.join()?.second);
    let seconds = seconds.map(|(name, tensor)| (format!("second moment of {name}"), tensor));
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
    let global = update.part.map_or(0, |part| part.first_shard) + shard;
    let dropout = Dropout::Seeded { seed, step: update.step, shard: global as u64 };
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
    // The mean over the videos may overflow by itself. On a device whose sums have no fixed order, the numbers of this
    // pass may also differ from those of the first.
    let loss = update
        .losses
        .get(shard)
        .map(|loss| Culprit::of(Origin::Loss, "mean loss", loss))
        .transpose()?
        .flatten();
    Ok(loss.map(|culprit| culprit.in_shard(shard, batch, false)))
}

/// Where several ranks make the step: the rank that has found the culprit, as messages name it, and whether it is in the
/// weights. `None` if this rank is to tell what it found, as every rank does that has found something, and as all do if none
/// has.
///
/// # Errors
/// A rank is missed.
pub(crate) fn elsewhere(
    channel: &Channel,
    own: Option<&Culprit>,
    context: &StageContext,
) -> Result<Option<(String, bool)>, Failure> {
    let found = own.map_or(0, |culprit| if culprit.is_in_the_weights() { 2 } else { 1 });
    let all = channel.all_gather(&[found]);
    let all = all.map_err(|e| link_failure("searching for what is not finite", &e))?;
    if found > 0 {
        return Ok(None);
    }
    let finder = all.iter().position(|found| found.first().is_some_and(|found| *found > 0));
    Ok(finder.map(|rank| (spread::named(context, rank), all[rank] == [2])))
}

/// The message about a step whose numbers are not finite on another rank.
pub(crate) fn describe_elsewhere(number: u64, rank: &str) -> String {
    format!("step {} has numbers that are not finite on {rank}, which tells the first of them", count(number))
}

/// The message about a step whose numbers are not finite. `number` counts steps from 1, as metrics.jsonl does.
pub(crate) fn describe(number: u64, update: &Update, culprit: Option<&Culprit>) -> String {
    let culprit = culprit.map_or_else(
        || "which did not come back when the step was computed once more: a fault of the device?".to_owned(),
        |culprit| format!("first {culprit}"),
    );
    let ids: Vec<&str> = update.batches.iter().flat_map(|b| b.ids.iter().map(String::as_str)).collect();
    format!(
        "step {} (epoch {}) has numbers that are not finite, {culprit}; its videos: {}",
        count(number),
        epoch(update.epoch),
        ids.join(", ")
    )
}

/// The failure of a run that stops at such a step.
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
mod tests;
