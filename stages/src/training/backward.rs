//! `backward`: the gradients of each shard's loss.
//!
//! Laws: the tape is freed before the gradients are sent on. The gradients of each shard are computed by themselves.

use std::sync::Arc;

use framewise_pipeline::edge::meter::StageMeter;
use framewise_pipeline::prelude::*;

use crate::device::per_device::per_device;
use crate::failure::compute_failure;
use crate::model;
use crate::model_kit::estimates;
use crate::payload::{GradientShard, LossPass, LossShard, ShardGradients};

/// The stage type `backward`.
pub(crate) struct Backward {
    meter: Arc<StageMeter>,
}

impl TransformType for Backward {
    const NAME: &'static str = "backward";
    const DOC: &'static str = "Computes the gradients of every shard's loss with respect to all parameters, on the shard's \
                               own device.";
    type Config = ();

    fn ports(_config: &()) -> (InputPort, OutputPort) {
        (InputPort::of::<LossPass>("losses"), OutputPort::of::<ShardGradients>("gradients", 1))
    }

    fn estimate(_config: &(), site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        estimates::backward_step(site.upstream, flows)
    }

    fn new(_config: (), context: &StageContext) -> Result<Self, Failure> {
        Ok(Self { meter: context.meter.clone() })
    }
}

impl Transform for Backward {
    type In = LossPass;
    type Out = ShardGradients;

    fn process(&mut self, pass: LossPass, out: &mut Emitter<'_, ShardGradients>) -> Result<(), StageError> {
        let LossPass { step, epoch, progress, shards, part } = pass;
        let computed = per_device(shards.into_iter().map(|s| (s.device, s)).collect(), |_, shard| {
            let gradients = Arc::new(model::backward(&shard.loss, &shard.weights)?);
            self.meter.touch();
            let LossShard { videos, moments, batch, loss, .. } = shard;
            Ok(GradientShard { gradients, videos, moments, batch, loss: loss.detach() })
        });
        let shards = computed
            .into_iter()
            .collect::<candle_core::Result<_>>()
            .map_err(|e| compute_failure(&format!("backward of step {step}"), &e))?;
        out.emit(ShardGradients { step, epoch, progress, shards, part })
    }
}
