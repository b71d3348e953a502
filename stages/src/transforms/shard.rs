//! `shard`: splits the batch of a step into parts, each of which is normalised by itself.
//!
//! Law: parts are contiguous and in order. Their sizes differ by at most one, and the larger parts come first.

use std::sync::Arc;

use framewise_pipeline::prelude::*;

use crate::payload::{Batch, Step, shard_ranges};

/// The stage type `shard`.
pub(crate) struct Shard {
    shards: usize,
}

#[derive(Keys)]
pub(crate) struct Config {
    /// The number of contiguous parts of a batch. A batch with fewer videos makes fewer shards.
    #[key(range = 1..=1024, default = 1)]
    shards: usize,
}

impl TransformType for Shard {
    const NAME: &'static str = "shard";
    const DOC: &'static str = "Splits each batch into shards. Each shard is normalised with its own batch statistics and the \
                               gradient is the example-weighted mean, so the number of shards is part of the mathematics; \
                               devices only place the work.";
    type Config = Config;

    fn ports(_config: &Config) -> (InputPort, OutputPort) {
        (InputPort::of::<Step>("batches"), OutputPort::of::<Step>("batches", 2).shaped_like("batches"))
    }

    fn check_upstream(config: &Config, upstream: &Upstream<'_>, _context: &CheckContext<'_>) -> Vec<Remark> {
        let Some(batch) = upstream.nearest("batch") else { return Vec::new() };
        let (shards, size) = (config.shards as u64, batch.settings.integer("size"));
        if shards <= size {
            return Vec::new();
        }
        let videos = if size == 1 { "1 video".to_owned() } else { format!("{size} videos") };
        let text = format!(
            "{shards} shards cannot be made of a batch of {videos}, so there are only {size}: stage `{}` makes such \
             batches",
            batch.name
        );
        vec![Remark::warning("shards", text)]
    }

    fn estimate(config: &Config, _site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let flow = flows.of("batches");
        // One shard is the batch itself; several are copies of its parts.
        let copied = if config.shards == 1 { Some(0) } else { flow.bytes };
        Some(Estimate::default().holds("the copied parts", copied).sends("batches", flow))
    }

    fn divides(_config: &Config, _site: &Site<'_>) -> Result<(), String> {
        Ok(())
    }

    fn new(config: Config, _context: &StageContext) -> Result<Self, Failure> {
        Ok(Self { shards: config.shards })
    }
}

impl Transform for Shard {
    type In = Step;
    type Out = Step;

    fn process(&mut self, step: Step, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        let shards = match step.shards.as_slice() {
            // Another rank has the rest of the step, and where its shards lie is settled.
            parts if step.part.is_some() => own_shards(parts, &step),
            [batch] => split(batch, self.shards),
            // An earlier stage has already split the batch, so each part is split further, in order.
            parts => parts.iter().flat_map(|part| split(part, self.shards)).collect(),
        };
        out.emit(Step { shards, ..step })
    }
}

/// The shards of a step of which this process has a part, as one batch or none.
fn own_shards(parts: &[Arc<Batch>], step: &Step) -> Vec<Arc<Batch>> {
    let (Some(part), Some(batch)) = (step.part, parts.first()) else { return Vec::new() };
    let ranges = shard_ranges(part.videos, part.shards);
    let own = ranges.into_iter().skip(part.first_shard);
    let mut first = 0;
    let mut shards = Vec::new();
    for range in own {
        if first >= batch.videos() {
            break;
        }
        shards.push(Arc::new(batch.slice(first, range.len())));
        first += range.len();
    }
    shards
}

/// Splits a batch of B videos into at most `shards` parts. The first B mod `shards` parts are one video larger.
pub(crate) fn split(batch: &Arc<Batch>, shards: usize) -> Vec<Arc<Batch>> {
    let videos = batch.videos();
    let shards = shards.clamp(1, videos.max(1));
    if shards == 1 {
        return vec![batch.clone()];
    }
    shard_ranges(videos, shards)
        .into_iter()
        .map(|range| Arc::new(batch.slice(range.start, range.len())))
        .collect()
}
