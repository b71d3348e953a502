//! `shard`: splits a step's batch into the parts that are normalised by themselves.
//!
//! Law: parts are contiguous and in order; their sizes differ by at most one, the larger ones first.

use std::sync::Arc;

use framewise_pipeline::{
    Component, Emitter, Failure, InputPort, KeyKind, KeySpec, OutputPort, Ports, Settings, Stage,
    StageContext, StageError, Transform, Wiring,
};

use crate::payload::{Batch, Step, any_of};

/// The stage type.
pub(crate) struct Shard;

struct Sharding {
    shards: usize,
}

impl Component for Shard {
    fn type_name(&self) -> &'static str {
        "shard"
    }

    fn doc(&self) -> &'static str {
        "Splits each batch into shards. Each shard is normalised with its own batch statistics and the gradient is the \
         example-weighted mean, so the number of shards is part of the mathematics; devices only place the work."
    }

    fn keys(&self) -> Vec<KeySpec> {
        let doc = "Contiguous parts of a batch. A batch of fewer videos makes fewer shards.";
        vec![KeySpec::new("shards", KeyKind::Integer(1..=1024), doc).default(1)]
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports {
            inputs: vec![InputPort::new::<Step>("batches", any_of::<Step>())],
            outputs: vec![OutputPort::new::<Step>("batches", any_of::<Step>(), 2).shaped_like("batches")],
        }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let sharding = Sharding { shards: usize::try_from(settings.integer("shards")).unwrap_or(1) };
        Ok(sharding.between(wiring.input("batches")?, wiring.output("batches")?))
    }
}

impl Transform for Sharding {
    type In = Step;
    type Out = Step;

    fn process(&mut self, step: Step, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        let shards = match step.shards.as_slice() {
            [batch] => split(batch, self.shards),
            // Already split by an earlier stage: split each part on, in order.
            parts => parts.iter().flat_map(|part| split(part, self.shards)).collect(),
        };
        out.emit(Step { shards, ..step })
    }
}

/// Splits a batch of B videos into at most `shards` parts, the first B mod `shards` of them one video larger.
pub(crate) fn split(batch: &Arc<Batch>, shards: usize) -> Vec<Arc<Batch>> {
    let videos = batch.videos();
    let shards = shards.clamp(1, videos.max(1));
    if shards == 1 {
        return vec![batch.clone()];
    }
    let (size, larger) = (videos / shards, videos % shards);
    let mut first = 0;
    (0..shards)
        .map(|shard| {
            let count = size + usize::from(shard < larger);
            let part = batch.slice(first, count);
            first += count;
            Arc::new(part)
        })
        .collect()
}
