//! `all_reduce`: the mean gradient of a step over its shards.
//!
//! Law: shards are summed in shard order and never in the order of arrival. Each is weighted with its number of videos.

use std::sync::Arc;

use framewise_pipeline::prelude::*;

use crate::failure::compute_failure;
use crate::model_kit::estimates;
use crate::optim;
use crate::payload::{ShardGradients, Update};

/// The stage type `all_reduce`.
pub(crate) struct AllReduce;

impl TransformType for AllReduce {
    const NAME: &'static str = "all_reduce";
    const DOC: &'static str = "Averages the shards' gradients, weighted by their videos and summed in shard order, on the \
                               first shard's device.";
    type Config = ();

    fn ports(_config: &()) -> (InputPort, OutputPort) {
        (InputPort::of::<ShardGradients>("gradients"), OutputPort::of::<Update>("gradients", 1))
    }

    fn estimate(_config: &(), site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let bytes = estimates::parameter_bytes(site.upstream);
        // The mean over one shard is that shard's gradient.
        let held = if estimates::shards(site.upstream) == 1 { Some(0) } else { bytes };
        let estimate = Estimate::default().holds("the mean gradient", held);
        Some(estimate.sends("gradients", estimates::one_for_one(flows, "gradients", bytes)))
    }

    fn new(_config: (), _context: &StageContext) -> Result<Self, Failure> {
        Ok(Self)
    }
}

impl Transform for AllReduce {
    type In = ShardGradients;
    type Out = Update;

    fn process(&mut self, step: ShardGradients, out: &mut Emitter<'_, Update>) -> Result<(), StageError> {
        let gradients = match step.shards.as_slice() {
            // The mean over one shard is that shard's gradient, so there is nothing to compute or copy.
            [only] => only.gradients.clone(),
            shards => {
                let parts: Vec<_> = shards.iter().map(|s| (&*s.gradients, s.videos)).collect();
                let mean = optim::reduce(&parts);
                Arc::new(mean.map_err(|e| compute_failure(&format!("all_reduce of step {}", step.step), &e))?)
            }
        };
        out.emit(Update {
            step: step.step,
            epoch: step.epoch,
            progress: step.progress,
            gradients,
            moments: step.shards.iter().filter_map(|s| s.moments.clone()).collect(),
            videos: step.shards.iter().map(|s| s.videos).sum(),
            batches: step.shards.iter().map(|s| s.batch.clone()).collect(),
            losses: step.shards.into_iter().map(|s| s.loss).collect(),
        })
    }
}
