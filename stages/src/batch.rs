//! `batch`: videos to steps, packed.
//!
//! Law: a batch never crosses the end of an epoch; without `drop_last` no video is lost.
//!
//! A run that goes on from a checkpoint begins with the videos that the epoch's steps have used up: they are dropped, and
//! videos that were not read yet are read here, when a batch is made of them.

use std::sync::Arc;

use framewise_pipeline::{
    Component, Emitter, Failure, InputPort, KeyKind, KeySpec, Mark, OutputPort, Ports, Settings, Stage,
    StageContext, StageError, Transform, Wiring,
};
use serde::Deserialize;

use crate::payload::{Batch, EpochProgress, Lazy, Step, Video, any_of};
use crate::resume::{Start, data_changed};

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
    /// How much of the epoch is in the batches sent so far.
    progress: EpochProgress,
    /// Videos to drop: steps before the checkpoint were made of them.
    used_up: u64,
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
            .unit("batches")
            .free(),
        ]
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports {
            inputs: vec![InputPort::new::<Lazy<Video>>("examples", any_of::<Video>())],
            outputs: vec![OutputPort::new::<Step>("batches", any_of::<Step>(), 2).shaped_like("examples")],
        }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let start = Start::of(context)?;
        let batching = Batching {
            config: settings.parse()?,
            batch: Batch::default(),
            sent: start.step,
            epoch: start.epoch,
            progress: EpochProgress { steps: start.epoch_steps, samples: start.epoch_samples, furthest: 0 },
            used_up: start.epoch_samples,
        };
        Ok(batching.between(wiring.input("examples")?, wiring.output("batches")?))
    }
}

impl Transform for Batching {
    type In = Lazy<Video>;
    type Out = Step;

    fn process(&mut self, video: Lazy<Video>, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        self.check_wanted()?;
        self.progress.furthest = self.progress.furthest.max(video.position());
        if self.used_up > 0 {
            self.used_up -= 1;
            return Ok(());
        }
        self.batch.push(video.load()?)?;
        if self.batch.videos() < self.config.size {
            return Ok(());
        }
        self.send(out)
    }

    fn at_mark(&mut self, mark: Mark, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        let Mark::EpochEnd { epoch } = mark;
        self.check_wanted()?;
        if self.used_up > 0 {
            let (missing, used) = (self.used_up, self.progress.samples);
            let detail = format!("epoch {epoch} has {missing} videos less than the {used} used up");
            return Err(data_changed(detail).into());
        }
        self.send_rest(out)?;
        self.epoch = epoch + 1;
        self.progress = EpochProgress::default();
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
        self.progress.steps += 1;
        self.progress.samples += batch.videos() as u64;
        out.emit(Step {
            index: self.sent,
            epoch: self.epoch,
            progress: self.progress,
            shards: vec![Arc::new(batch)],
        })?;
        self.sent += 1;
        self.check_wanted()
    }

    fn check_wanted(&self) -> Result<(), StageError> {
        let enough = self.config.max_batches.is_some_and(|max| self.sent >= max);
        // Nothing more is wanted: the stages before this one end as if they had no consumer left.
        if enough { Err(StageError::Closed) } else { Ok(()) }
    }
}
