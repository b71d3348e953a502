//! `batch`: videos to steps, packed.
//!
//! Law: a batch never crosses the end of an epoch; without `drop_last` no video is lost.

use std::sync::Arc;

use framewise_pipeline::{
    Component, Emitter, Failure, InputPort, KeyKind, KeySpec, Mark, OutputPort, Ports, Settings, Stage,
    StageContext, StageError, Transform, Wiring,
};
use serde::Deserialize;

use crate::payload::{Batch, Step, Video, any_of};

/// The stage type.
pub(crate) struct BatchVideos;

#[derive(Deserialize)]
struct Config {
    size: usize,
    drop_last: bool,
    max_batches: Option<u64>,
}

struct Batching {
    config: Config,
    batch: Batch,
    /// Batches sent so far, over all epochs.
    sent: u64,
    epoch: u64,
}

impl Component for BatchVideos {
    fn type_name(&self) -> &'static str {
        "batch"
    }

    fn doc(&self) -> &'static str {
        "Packs videos into batches, one batch a step: the frames of all videos one after another with their lengths, no \
         padding; or, at video level, a row a video. The last batch of an epoch may be smaller, unless drop_last."
    }

    fn keys(&self) -> Vec<KeySpec> {
        vec![
            KeySpec::new("size", KeyKind::Integer(1..=1 << 20), "Videos of a step, over all shards.")
                .default(160)
                .unit("videos"),
            KeySpec::new("drop_last", KeyKind::Bool, "Drops the smaller batch at the end of an epoch.")
                .default(false),
            KeySpec::new(
                "max_batches",
                KeyKind::at_least(1),
                "Ends the stream after this many batches, for trying a graph.",
            )
            .unit("batches"),
        ]
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports {
            inputs: vec![InputPort::new::<Video>("examples", any_of::<Video>())],
            outputs: vec![OutputPort::new::<Step>("batches", any_of::<Step>(), 2).shaped_like("examples")],
        }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let batching = Batching { config: settings.parse()?, batch: Batch::default(), sent: 0, epoch: 0 };
        Ok(batching.between(wiring.input("examples")?, wiring.output("batches")?))
    }
}

impl Transform for Batching {
    type In = Video;
    type Out = Step;

    fn process(&mut self, video: Video, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        self.batch.push(video)?;
        if self.batch.videos() < self.config.size {
            return Ok(());
        }
        self.send(out)
    }

    fn at_mark(&mut self, mark: Mark, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        let Mark::EpochEnd { epoch } = mark;
        self.send_rest(out)?;
        self.epoch = epoch + 1;
        Ok(())
    }

    fn at_end(&mut self, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        self.send_rest(out)
    }
}

impl Batching {
    fn send_rest(&mut self, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        if self.config.drop_last {
            self.batch = Batch::default();
        }
        if self.batch.videos() == 0 { Ok(()) } else { self.send(out) }
    }

    fn send(&mut self, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        // The next batch is about as large: its buffers are allocated once.
        let next = Batch { features: self.batch.features.emptied(), ..Batch::default() };
        let batch = std::mem::replace(&mut self.batch, next);
        out.emit(Step { index: self.sent, epoch: self.epoch, shards: vec![Arc::new(batch)] })?;
        self.sent += 1;
        // Nothing more is wanted: the stages before this one end as if they had no consumer left.
        if self.config.max_batches == Some(self.sent) { Err(StageError::Closed) } else { Ok(()) }
    }
}
