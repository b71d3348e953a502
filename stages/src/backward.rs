//! `backward`: the gradients of each shard's loss.
//!
//! Law: the tape is freed before the gradients are sent on, and each shard's gradients are computed alone.

use std::sync::Arc;

use framewise_pipeline::meter::StageMeter;
use framewise_pipeline::{
    Component, Emitter, Failure, InputPort, KeySpec, OutputPort, PayloadType, Ports, Settings, Stage,
    StageContext, StageError, Transform, Wiring,
};

use crate::forward::compute_failure;
use crate::model;
use crate::parallel::per_device;
use crate::payload::{GradientShard, LossPass, LossShard, ShardGradients};

/// The stage type.
pub(crate) struct Backward;

struct Differentiating {
    meter: Arc<StageMeter>,
}

impl Component for Backward {
    fn type_name(&self) -> &'static str {
        "backward"
    }

    fn doc(&self) -> &'static str {
        "Computes the gradients of every shard's loss with respect to all parameters, on the shard's own device."
    }

    fn keys(&self) -> Vec<KeySpec> {
        Vec::new()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports {
            inputs: vec![InputPort::new::<LossPass>("losses", PayloadType::of::<LossPass>())],
            outputs: vec![OutputPort::new::<ShardGradients>(
                "gradients",
                PayloadType::of::<ShardGradients>(),
                1,
            )],
        }
    }

    fn build(
        &self,
        _settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let meter = context.meter.clone();
        Ok(Differentiating { meter }.between(wiring.input("losses")?, wiring.output("gradients")?))
    }
}

impl Transform for Differentiating {
    type In = LossPass;
    type Out = ShardGradients;

    fn process(&mut self, pass: LossPass, out: &mut Emitter<'_, ShardGradients>) -> Result<(), StageError> {
        let LossPass { step, epoch, progress, shards } = pass;
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
        out.emit(ShardGradients { step, epoch, progress, shards })
    }
}
