//! `all_reduce`: the mean gradient of a step over its shards, in slices.
//!
//! Law: shards are summed in shard order and never in the order of arrival. Each is weighted with its number of videos.

use std::sync::Arc;

use framewise_pipeline::prelude::*;

use crate::collective::{Cut, LIMIT, Team};
use crate::device::{Devices, place};
use crate::failure::collective_failure;
use crate::model_kit::estimates;
use crate::optim;
use crate::payload::{ShardGradients, Update};

/// The stage type `all_reduce`.
pub(crate) struct AllReduce {
    team: Team,
    /// The cut of the gradients seen so far.
    cut: Option<Arc<Cut>>,
}

#[derive(Keys)]
pub(crate) struct Config {
    #[key(flatten)]
    devices: Devices,
}

impl TransformType for AllReduce {
    const NAME: &'static str = "all_reduce";
    const DOC: &'static str = "Averages the shards' gradients, weighted by their videos and summed in shard order. Each of \
                               `devices`, which are those of the optimizer, sums one slice of the parameters.";
    type Config = Config;

    fn ports(_config: &Config) -> (InputPort, OutputPort) {
        (InputPort::of::<ShardGradients>("gradients"), OutputPort::of::<Update>("gradients", 1))
    }

    fn check(config: &Config, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        config.devices.check()
    }

    fn survey(config: &Config, _site: &Site<'_>) -> Survey {
        config.devices.survey()
    }

    fn estimate(_config: &Config, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let bytes = estimates::parameter_bytes(site.upstream);
        // The mean over one shard is that shard's gradient.
        let held = if estimates::shards(site.upstream) == 1 { Some(0) } else { bytes };
        let estimate = Estimate::default().holds("the mean gradient", held);
        Some(estimate.sends("gradients", estimates::one_for_one(flows, "gradients", bytes)))
    }

    fn new(config: Config, _context: &StageContext) -> Result<Self, Failure> {
        Ok(Self { team: Team::local(&config.devices.open_named()?, LIMIT), cut: None })
    }
}

impl Transform for AllReduce {
    type In = ShardGradients;
    type Out = Update;

    fn process(&mut self, step: ShardGradients, out: &mut Emitter<'_, Update>) -> Result<(), StageError> {
        let parts: Vec<_> = step.shards.iter().map(|s| (&*s.gradients, s.videos)).collect();
        let members = self.team.members().len();
        let cut = self.cut.take().unwrap_or_else(|| Arc::new(optim::cut(&parts, members)));
        let held_by = |shard| place(shard, parts.len(), members);
        let mean = optim::reduce_scatter(&self.team, &cut, &parts, held_by);
        let mean = mean.map_err(|e| collective_failure(&format!("all_reduce of step {}", step.step), &e))?;
        self.cut = Some(cut);
        out.emit(Update {
            step: step.step,
            epoch: step.epoch,
            progress: step.progress,
            gradients: Arc::new(mean),
            moments: step.shards.iter().filter_map(|s| s.moments.clone()).collect(),
            videos: step.shards.iter().map(|s| s.videos).sum(),
            batches: step.shards.iter().map(|s| s.batch.clone()).collect(),
            losses: step.shards.into_iter().map(|s| s.loss).collect(),
        })
    }
}
