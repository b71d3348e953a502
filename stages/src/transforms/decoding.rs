//! What the stages that decode records share: chunks that are spread over worker threads in order, bad records, and
//! records that were not read yet.
//!
//! Laws: order is kept whatever `workers` is. A record that was not read yet is passed on as a video that was not read
//! yet. Features from which nothing can be learned are told once, after the first epoch.

use std::sync::Arc;

use framewise_pipeline::edge::meter::StageMeter;
use framewise_pipeline::prelude::*;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::uninformative::Uninformative;
use crate::failure::data_changed;
use crate::payload::{Deferred, Lazy, Loader, Record, Video};
use crate::run_state::rejects::{RejectKeys, Rejects};
use crate::run_state::resume::Start;
use crate::run_state::spread;
use crate::tfrecord::{DecodeOptions, RecordError};

/// The number of records that each worker decodes at a time.
pub(super) const CHUNK_PER_WORKER: usize = 8;

/// Decodes a record to a video. The flag beside it says whether the video was cut to `max_frames`.
pub(crate) type DecodeRecord = fn(&Record, &DecodeOptions) -> Result<(Video, bool), RecordError>;

/// The count of decoded videos that were cut to `max_frames`, in the stage's meter.
pub(crate) const CUT_TO_MAX_FRAMES: &str = "cut_to_max_frames";
/// The count of decoded videos without a label, in the stage's meter.
pub(crate) const WITHOUT_LABELS: &str = "without_labels";

/// The transform of a stage that decodes `records` to `examples`.
pub(crate) struct Decode {
    decode: DecodeRecord,
    options: Arc<DecodeOptions>,
    epoch: u64,
    /// The pool of worker threads. With `None`, the stage's own thread decodes.
    pool: Option<ThreadPool>,
    /// Records that wait to be decoded together, and how many of them make a chunk.
    waiting: Vec<Lazy<Record>>,
    chunk: usize,
    rejects: Rejects,
    context: StageContext,
    /// What is seen of the features in the first epoch of the run.
    features: Option<Uninformative>,
}

/// The key `workers` of a stage that decodes.
#[derive(Keys)]
pub(crate) struct Workers {
    /// The number of threads that decode. The order is kept whatever their number.
    #[key(range = 1..=256, default = 1, unit = "threads", free)]
    pub(super) workers: usize,
}

/// The ports of a stage that decodes to `examples`.
pub(crate) fn ports(examples: PayloadType) -> Ports {
    Ports {
        inputs: vec![InputPort::of::<Lazy<Record>>("records")],
        outputs: vec![OutputPort::new::<Lazy<Video>>("examples", examples, 64)],
    }
}

impl Transform for Decode {
    type In = Lazy<Record>;
    type Out = Lazy<Video>;

    fn at_start(&mut self, _out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        Ok(self.rejects.start()?)
    }

    fn process(
        &mut self,
        record: Lazy<Record>,
        out: &mut Emitter<'_, Lazy<Video>>,
    ) -> Result<(), StageError> {
        self.waiting.push(record);
        if self.waiting.len() < self.chunk { Ok(()) } else { self.decode_waiting(out) }
    }

    fn at_mark(&mut self, mark: Mark, out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        self.decode_waiting(out)?;
        let Mark::EpochEnd { epoch } = mark;
        self.epoch = epoch + 1;
        self.tell_features();
        Ok(())
    }

    fn at_end(&mut self, out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        self.decode_waiting(out)?;
        self.tell_features();
        Ok(())
    }
}

impl Decode {
    /// The transform with these threads.
    ///
    /// # Errors
    /// `Internal` when the threads cannot be started, and the errors of [`Rejects::new`].
    pub(crate) fn new(
        decode: DecodeRecord,
        options: DecodeOptions,
        Workers { workers }: &Workers,
        rejects: &RejectKeys,
        context: &StageContext,
    ) -> Result<Self, Failure> {
        let pool = match *workers {
            1 => None,
            n => Some(
                ThreadPoolBuilder::new()
                    .num_threads(n)
                    .thread_name(|i| format!("decode-{i}"))
                    .build()
                    .map_err(|e| Failure::internal(format!("cannot start {n} decode threads: {e}")))?,
            ),
        };
        let chunk = if pool.is_some() { workers * CHUNK_PER_WORKER } else { 1 };
        Ok(Self {
            decode,
            options: Arc::new(options),
            epoch: Start::of(context)?.epoch,
            pool,
            waiting: Vec::with_capacity(chunk),
            chunk,
            rejects: Rejects::new(rejects, context)?,
            context: context.clone(),
            features: Some(Uninformative::default()),
        })
    }

    fn decode_waiting(&mut self, out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        let (decode, options) = (self.decode, &self.options);
        let decode = |record: Lazy<Record>| -> (u64, Decoded) {
            let position = record.position();
            match record.into_parts() {
                Ok(record) => (position, decode(&record, options).map(Ok)),
                Err(deferred) => (position, Ok(Err(deferred))),
            }
        };
        let decoded: Vec<_> = match &self.pool {
            // A parallel collect with indices keeps the order.
            Some(pool) if !self.waiting.iter().all(Lazy::is_deferred) => {
                pool.install(|| self.waiting.par_drain(..).map(decode).collect())
            }
            _ => self.waiting.drain(..).map(decode).collect(),
        };
        for (position, example) in decoded {
            match example {
                Ok(Ok(decoded)) => {
                    if let Some(features) = &mut self.features {
                        features.look(&decoded.0);
                    }
                    out.emit(Lazy::ready(position, counted(decoded, &self.context.meter)))?;
                }
                Ok(Err(record)) => self.pass_on(position, record, out)?,
                Err(error) => self.rejects.reject(error, self.epoch, position)?,
            }
        }
        Ok(())
    }

    /// Warns of what the first epoch has shown of the features.
    fn tell_features(&mut self) {
        for warning in self.features.take().iter().flat_map(Uninformative::warnings) {
            self.context.message(Level::Warning, warning);
        }
    }

    /// Passes on a record that was not read, unless it is known to be bad.
    fn pass_on(
        &self,
        position: u64,
        record: Deferred<Record>,
        out: &mut Emitter<'_, Lazy<Video>>,
    ) -> Result<(), StageError> {
        let Deferred { origin, load, bytes } = record;
        if let Some(reason) = self.rejects.known(&origin) {
            self.rejects.reject_again(reason);
            return Ok(());
        }
        let (decode, options, meter) = (self.decode, self.options.clone(), self.context.meter.clone());
        // In a replay the record was good before. A rank that reads its own records alone sees it for the first time.
        let is_new = spread::reads_own(&self.context);
        let load: Loader<Video> = Arc::new(move |origin| {
            let refused = |error| if is_new { Failure::data(error) } else { data_changed(error) };
            let decoded = decode(&load(origin)?, &options).map_err(refused)?;
            Ok(counted(decoded, &meter))
        });
        out.emit(Lazy::deferred(position, Deferred { origin, load, bytes }))
    }
}

/// Counts what users should know of a decoded video.
fn counted((video, cut): (Video, bool), meter: &StageMeter) -> Video {
    if cut {
        meter.count(CUT_TO_MAX_FRAMES, 1);
    }
    if video.labels().is_empty() {
        meter.count(WITHOUT_LABELS, 1);
    }
    video
}

/// The result for a record: a video, a record that is still to be read, or a bad record.
type Decoded = Result<Result<(Video, bool), Deferred<Record>>, RecordError>;
