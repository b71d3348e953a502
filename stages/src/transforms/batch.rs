//! `batch`: packs videos into steps.
//!
//! Laws: a batch never crosses the end of an epoch. Without `drop_last`, no video is lost. An epoch that makes no batch
//! is an error. Otherwise the stages behind this one would have nothing to do, and the run would pass for a good one. Only
//! one of several ranks that divide the records may have none of them.
//!
//! A resumed run begins with the videos that the epoch's steps have used up, and these are dropped here. Videos that
//! were not read yet are read here, when a batch is made of them.

use std::sync::Arc;

use framewise_pipeline::edge::meter::StageMeter;
use framewise_pipeline::prelude::*;

use crate::device;
use crate::failure::data_changed;
use crate::payload::{Batch, EpochProgress, Lazy, Step, StepPart, Video, shard_ranges};
use crate::ranks::Share;
use crate::run_state::parts;
use crate::run_state::resume::Start;
use crate::run_state::spread;
use crate::words::{self, plural};

/// The stage type `batch`.
pub(crate) struct BatchVideos {
    config: Config,
    batch: Batch,
    /// The videos of the next step, where this process computes some of its shards only and so does not need all of them.
    undivided: Vec<Lazy<Video>>,
    /// The number of this rank, of all ranks and of the shards of a step, where several ranks make each step.
    of_shards: Option<(usize, usize, usize)>,
    /// The most visual and audio values of a batch so far.
    largest: (usize, usize),
    /// The number of batches sent so far, over all epochs.
    sent: u64,
    epoch: u64,
    /// The part of the epoch that is in the batches sent so far.
    progress: EpochProgress,
    /// The number of videos to drop, of which the steps before the checkpoint were made.
    used_up: u64,
    /// Whether the end of an epoch has come.
    had_mark: bool,
    /// The part of the records that reaches this process.
    share: Share,
    stage: Arc<str>,
    meter: Arc<StageMeter>,
}

/// The count of videos that `drop_last` left out, in the stage's meter.
const DROPPED_BY_DROP_LAST: &str = "dropped_by_drop_last";

#[derive(Keys)]
pub(crate) struct Config {
    /// The number of videos of a step, over all shards.
    #[key(range = 1..=1 << 20, default = 160, unit = "videos")]
    size: usize,
    /// Drops the smaller batch at the end of an epoch.
    #[key(default = false)]
    drop_last: bool,
    /// Ends the stream after this many batches, for trying a graph.
    #[key(range = 1.., unit = "batches", free)]
    max_batches: Option<u64>,
}

impl TransformType for BatchVideos {
    const NAME: &'static str = "batch";
    const DOC: &'static str = "Packs videos into batches, one batch a step: the frames of all videos one after another with \
                               their lengths, no padding; or, at video level, a row a video. The last batch of an epoch \
                               may be smaller, unless drop_last.";
    type Config = Config;

    fn ports(_config: &Config) -> (InputPort, OutputPort) {
        (
            InputPort::of::<Lazy<Video>>("examples"),
            OutputPort::of::<Step>("batches", 2).shaped_like("examples"),
        )
    }

    fn estimate(config: &Config, _site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let videos = flows.of("examples");
        let size = config.size as u64;
        let steps = |items: u64| if config.drop_last { items / size } else { items.div_ceil(size) };
        let bytes = videos.bytes.map(|bytes| bytes.saturating_mul(size.min(videos.items.unwrap_or(size))));
        let most = match (videos.most.map(steps), config.max_batches) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let flow = Flow { items: videos.items.map(steps), most, bytes, ..videos };
        // The buffers of the next batch are allocated while the last one is still being sent.
        let held = bytes.map(|bytes| bytes.saturating_mul(2));
        Some(
            Estimate::default().holds("the batch being packed and the last one", held).sends("batches", flow),
        )
    }

    fn divides(config: &Config, _site: &Site<'_>) -> Result<(), String> {
        if config.drop_last {
            return Err(
                "`drop_last` would leave out videos at the end of every rank's part: set it to false"
                    .to_owned(),
            );
        }
        match config.max_batches {
            Some(_) => Err("`max_batches` would end every rank's part by itself: leave it out".to_owned()),
            None => Ok(()),
        }
    }

    fn new(config: Config, context: &StageContext) -> Result<Self, Failure> {
        let start = Start::of(context)?;
        Ok(Self {
            config,
            batch: Batch::default(),
            undivided: Vec::new(),
            of_shards: spread::of_shards(context),
            largest: (0, 0),
            sent: start.step,
            epoch: start.epoch,
            progress: EpochProgress { steps: start.epoch_steps, samples: start.epoch_samples, furthest: 0 },
            used_up: start.epoch_samples,
            had_mark: false,
            share: parts::share(context),
            stage: context.stage.clone(),
            meter: context.meter.clone(),
        })
    }
}

impl Transform for BatchVideos {
    type In = Lazy<Video>;
    type Out = Step;

    fn process(&mut self, video: Lazy<Video>, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        self.check_wanted()?;
        self.progress.furthest = self.progress.furthest.max(video.position());
        if self.used_up > 0 {
            self.used_up -= 1;
            return Ok(());
        }
        match self.of_shards {
            None => self.batch.push(video.load()?)?,
            Some(_) => self.undivided.push(video),
        }
        if self.waiting() < self.config.size {
            return Ok(());
        }
        self.send(out)
    }

    fn at_mark(&mut self, mark: Mark, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        let Mark::EpochEnd { epoch } = mark;
        self.check_wanted()?;
        if self.used_up > 0 {
            let (missing, used) = (self.used_up, self.progress.samples);
            let (epoch, missing) = (words::epoch(epoch), plural(missing, "video"));
            let detail = format!("epoch {epoch} has {missing} less than the {used} used up");
            return Err(data_changed(detail).into());
        }
        self.send_rest(out, Some(epoch))?;
        self.had_mark = true;
        self.epoch = epoch + 1;
        self.progress = EpochProgress::default();
        Ok(())
    }

    fn at_end(&mut self, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        let nothing_is_due = self.had_mark || self.sent > 0;
        if nothing_is_due && self.waiting() == 0 { Ok(()) } else { self.send_rest(out, None) }
    }
}

impl BatchVideos {
    /// The number of videos of the next step that have come.
    fn waiting(&self) -> usize {
        self.batch.videos() + self.undivided.len()
    }

    /// Reads the videos of this rank's shards, and drops the others. Returns which part of the step they are.
    fn take_part(&mut self, (rank, ranks, shards): (usize, usize, usize)) -> Result<StepPart, Failure> {
        let all = std::mem::take(&mut self.undivided);
        let ranges = shard_ranges(all.len(), shards);
        let is_own = |shard: &usize| device::place(*shard, ranges.len(), ranks) == rank;
        let own: Vec<usize> = (0..ranges.len()).filter(is_own).collect();
        let first_shard = own.first().copied().unwrap_or(ranges.len());
        let places: Vec<u8> = all.iter().flat_map(|video| video.position().to_le_bytes()).collect();
        let part = StepPart {
            first_shard,
            shards: ranges.len(),
            videos: all.len(),
            videos_crc: crc32c::crc32c(&places),
        };
        if let (Some(first), Some(last)) = (own.first(), own.last()) {
            let (start, end) = (ranges[*first].start, ranges[*last].end);
            for video in all.into_iter().skip(start).take(end - start) {
                self.batch.push(video.load()?)?;
            }
        }
        Ok(part)
    }

    /// Sends or drops the videos that wait at the end of `epoch`, or of an input that ends without such a mark.
    fn send_rest(&mut self, out: &mut Emitter<'_, Step>, epoch: Option<u64>) -> Result<(), StageError> {
        let videos = self.waiting();
        if self.config.drop_last {
            let dropped = videos as u64;
            self.undivided.clear();
            self.batch = Batch::default();
            if dropped > 0 {
                self.meter.count(DROPPED_BY_DROP_LAST, dropped);
            }
        }
        match self.waiting() {
            0 if self.progress.steps == 0 && self.share.is_whole() => Err(self.nothing(videos, epoch).into()),
            0 => Ok(()),
            _ => self.send(out),
        }
    }

    /// The failure of an epoch in which no batch could be made.
    fn nothing(&self, videos: usize, epoch: Option<u64>) -> Failure {
        let epoch = epoch.map_or(String::new(), |epoch| format!("epoch {}: ", words::epoch(epoch)));
        if videos == 0 {
            return Failure::data(format!(
                "{epoch}no video came, so there is no batch to make: the files of the source hold no video, or every \
                 record was rejected"
            ));
        }
        let (stage, size) = (&self.stage, self.config.size);
        let videos = if videos == 1 { "1 video makes".to_owned() } else { format!("{videos} videos make") };
        Failure::config(format!(
            "{epoch}{videos} no batch of {size} with drop_last = true: lower stages.{stage}.size, or set \
             stages.{stage}.drop_last to false"
        ))
    }

    fn send(&mut self, out: &mut Emitter<'_, Step>) -> Result<(), StageError> {
        // The next batch is about as large, so its buffers are allocated at once. With the room of the largest one so far,
        // they hardly ever grow, which would copy all that is in them. Room that is not used takes no memory.
        let part = self.of_shards.map(|of_shards| self.take_part(of_shards)).transpose()?;
        let (rgb, audio) = self.batch.features.values();
        self.largest = (self.largest.0.max(rgb), self.largest.1.max(audio));
        let next = Batch { features: self.batch.features.emptied(self.largest), ..Batch::default() };
        let batch = std::mem::replace(&mut self.batch, next);
        self.progress.steps += 1;
        self.progress.samples += part.map_or(batch.videos(), |part| part.videos) as u64;
        out.emit(Step {
            index: self.sent,
            epoch: self.epoch,
            progress: self.progress,
            shards: if batch.videos() == 0 { Vec::new() } else { vec![Arc::new(batch)] },
            part,
        })?;
        self.sent += 1;
        self.check_wanted()
    }

    fn check_wanted(&self) -> Result<(), StageError> {
        let enough = self.config.max_batches.is_some_and(|max| self.sent >= max);
        // Nothing more is wanted, so the stages before this one end as if they had no consumer left.
        if enough { Err(StageError::Closed) } else { Ok(()) }
    }
}
