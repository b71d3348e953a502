//! `all_reduce`: the mean gradient of a step over its shards, in slices.
//!
//! Law: shards are summed in shard order and never in the order of arrival. Each is weighted with its number of videos.

use std::sync::Arc;

use candle_core::Device;
use framewise_pipeline::prelude::*;

use crate::collective::{Cut, Team};
use crate::device::{Devices, place};
use crate::failure::collective_failure;
use crate::model_kit::division::Division;
use crate::model_kit::estimates;
use crate::optim::{self, Among};
use crate::payload::{ShardGradients, Update};
use crate::ranks::Channel;
use crate::run_state::parts::while_waiting;
use crate::run_state::spread;
use crate::training::partners::{self, team};
use crate::training::traffic::Traffic;

/// The stage type `all_reduce`.
pub(crate) struct AllReduce {
    team: Team,
    traffic: Traffic,
    /// The way to the other ranks that compute shards of the same steps.
    channel: Option<Channel>,
    device: Device,
    context: StageContext,
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

    fn estimate(config: &Config, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let (shards, names) = (estimates::shards(site.upstream), config.devices.names());
        let mean = "the mean gradient";
        let estimate = match Division::of_model(site.upstream, names) {
            None => Estimate::default().holds(mean, None),
            Some(division) => {
                let estimate = division.takes_gradients(shards as usize, Estimate::default());
                // The mean over one shard is that shard's gradient, of which a GPU holds a copy of its slice where the
                // shard is on another one.
                let is_seen_in_place = shards == 1 && (names.len() == 1 || !config.devices.need_a_gpu());
                if is_seen_in_place { estimate.holds(mean, 0) } else { division.holds(mean, 1, estimate) }
            }
        };
        let bytes = estimates::parameter_bytes(site.upstream);
        Some(estimate.sends("gradients", estimates::one_for_one(flows, "gradients", bytes)))
    }

    fn new(config: Config, context: &StageContext) -> Result<Self, Failure> {
        let (devices, channel) = (config.devices.open_named()?, spread::channel(context)?);
        let team = team(&devices, channel.as_ref())?;
        let device = devices.first().map_or(Device::Cpu, |(_, device)| device.clone());
        let (traffic, context) = (Traffic::new(&team, context), context.clone());
        Ok(Self { traffic, team, channel, device, context, cut: None })
    }
}

impl Transform for AllReduce {
    type In = ShardGradients;
    type Out = Update;

    fn process(&mut self, step: ShardGradients, out: &mut Emitter<'_, Update>) -> Result<(), StageError> {
        let parts: Vec<_> = step.shards.iter().map(|s| (&*s.gradients, s.videos)).collect();
        let members = self.team.members().len();
        let cut = match (self.cut.take(), &self.channel) {
            (Some(cut), _) => cut,
            (None, None) => Arc::new(optim::cut(&parts, members)),
            (None, Some(channel)) => {
                let own = parts.first().map(|(gradients, _)| *gradients);
                Arc::new(partners::cut(channel, own, self.team.size())?)
            }
        };
        let held_by = |shard| place(shard, parts.len(), members);
        let among = step.part.map(|part| Among { first: part.first_shard, videos: part.videos });
        let mean =
            while_waiting(&self.context, || optim::reduce_scatter(&self.team, &cut, &parts, held_by, among));
        let mean = mean.map_err(|e| collective_failure(&format!("all_reduce of step {}", step.step), &e))?;
        let mut moments: Vec<_> = step.shards.iter().filter_map(|s| s.moments.clone()).collect();
        if let Some(channel) = &self.channel {
            moments = partners::moments(channel, &moments, &self.device)?;
        }
        self.cut = Some(cut);
        self.traffic.step(&self.team);
        out.emit(Update {
            step: step.step,
            epoch: step.epoch,
            progress: step.progress,
            gradients: Arc::new(mean),
            moments,
            videos: among.map_or_else(|| step.shards.iter().map(|s| s.videos).sum(), |among| among.videos),
            part: step.part,
            batches: step.shards.iter().map(|s| s.batch.clone()).collect(),
            losses: step.shards.into_iter().map(|s| s.loss).collect(),
        })
    }

    fn at_end(&mut self, _out: &mut Emitter<'_, Update>) -> Result<(), StageError> {
        self.traffic.tell();
        Ok(())
    }
}
