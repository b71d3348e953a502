//! `all_reduce`: the mean gradient of a step over its shards.
//!
//! Law: shards are summed in shard order, never in order of arrival, each weighted with its number of videos.

use std::sync::Arc;

use framewise_pipeline::{
    Component, Emitter, Failure, InputPort, KeySpec, OutputPort, PayloadType, Ports, Settings, Stage,
    StageContext, StageError, Transform, Wiring,
};

use crate::forward::compute_failure;
use crate::optim;
use crate::payload::{ShardGradients, Update};

/// The stage type.
pub(crate) struct AllReduce;

struct Reducing;

impl Component for AllReduce {
    fn type_name(&self) -> &'static str {
        "all_reduce"
    }

    fn doc(&self) -> &'static str {
        "Averages the shards' gradients, weighted by their videos and summed in shard order, on the first shard's device."
    }

    fn keys(&self) -> Vec<KeySpec> {
        Vec::new()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports {
            inputs: vec![InputPort::new::<ShardGradients>("gradients", PayloadType::of::<ShardGradients>())],
            outputs: vec![OutputPort::new::<Update>("gradients", PayloadType::of::<Update>(), 1)],
        }
    }

    fn build(
        &self,
        _settings: &Settings,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        Ok(Reducing.between(wiring.input("gradients")?, wiring.output("gradients")?))
    }
}

impl Transform for Reducing {
    type In = ShardGradients;
    type Out = Update;

    fn process(&mut self, step: ShardGradients, out: &mut Emitter<'_, Update>) -> Result<(), StageError> {
        let gradients = match step.shards.as_slice() {
            // The mean over one shard is that shard's gradient: nothing to compute or copy.
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
