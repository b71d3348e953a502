//! `yt8m_decode`: frame-level SequenceExamples to ids, labels and byte frames.
//!
//! Law: order is kept whatever `workers` is. A record that was not read yet is passed on as a video that was not.

use std::sync::Arc;

use framewise_pipeline::{
    Component, Failure, Input, InputPort, KeyKind, KeySpec, Mark, Output, OutputPort, Packet, PayloadType,
    Ports, Settings, Stage, StageContext, StageError, Wiring,
};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Deserialize;

use crate::payload::{Deferred, Lazy, Loader, Record, Video, rows_of};
use crate::rejects::{Rejects, reject_keys};
use crate::resume::{Start, data_changed};
use crate::tfrecord::{DecodeOptions, RecordError, decode_frames};

/// Records per worker that are decoded at a time.
const CHUNK_PER_WORKER: usize = 8;

/// The stage type.
pub(crate) struct Yt8mDecode;

#[derive(Deserialize)]
struct Config {
    rgb_size: usize,
    audio_size: usize,
    max_frames: usize,
    classes: usize,
    workers: usize,
}

/// Decodes a record.
pub(crate) type DecodeRecord = fn(&Record, &DecodeOptions) -> Result<Video, RecordError>;

struct Decode {
    decode: DecodeRecord,
    options: Arc<DecodeOptions>,
    epoch: u64,
    /// `None` decodes on the stage's own thread.
    pool: Option<ThreadPool>,
    chunk: usize,
    rejects: Rejects,
    input: Input<Lazy<Record>>,
    output: Output<Lazy<Video>>,
}

impl Component for Yt8mDecode {
    fn type_name(&self) -> &'static str {
        "yt8m_decode"
    }

    fn doc(&self) -> &'static str {
        "Decodes YouTube-8M frame-level records (tf.train.SequenceExample) into id, labels and byte frames. Frames stay \
         bytes: a quarter of the memory of floats. Videos longer than max_frames are cut."
    }

    fn keys(&self) -> Vec<KeySpec> {
        let mut keys = vec![
            KeySpec::new("rgb_size", KeyKind::Integer(1..=1 << 20), "Bytes of a visual row.")
                .default(1024)
                .unit("bytes"),
            KeySpec::new("audio_size", KeyKind::Integer(1..=1 << 20), "Bytes of an audio row.")
                .default(128)
                .unit("bytes"),
            KeySpec::new("max_frames", KeyKind::Integer(1..=1 << 20), "Frames kept of a longer video.")
                .default(300)
                .unit("frames"),
            KeySpec::new("classes", KeyKind::Integer(1..=1 << 24), "Labels must be below this.")
                .default(3862),
            workers_key(),
        ];
        keys.extend(reject_keys());
        keys
    }

    fn ports(&self, settings: &Settings) -> Ports {
        let sizes = (settings.integer("rgb_size"), settings.integer("audio_size"));
        Ports {
            inputs: vec![InputPort::new::<Lazy<Record>>("records", PayloadType::of::<Record>())],
            outputs: vec![OutputPort::new::<Lazy<Video>>("examples", rows_of::<Video>(sizes), 64)],
        }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let config: Config = settings.parse()?;
        let options = DecodeOptions {
            rgb_size: config.rgb_size,
            audio_size: config.audio_size,
            max_frames: config.max_frames,
            classes: Some(config.classes),
            ..DecodeOptions::default()
        };
        let decode: DecodeRecord = |record, options| decode_frames(record, options).map(Video::Frames);
        decoding(decode, options, config.workers, settings, wiring, context)
    }
}

/// The key `workers` of a stage that decodes.
pub(crate) fn workers_key() -> KeySpec {
    let doc = "Threads that decode. The order is kept whatever it is.";
    KeySpec::new("workers", KeyKind::Integer(1..=256), doc).default(1).unit("threads").free()
}

/// The stage that decodes `records` to `examples`.
pub(crate) fn decoding(
    decode: DecodeRecord,
    options: DecodeOptions,
    workers: usize,
    settings: &Settings,
    wiring: &mut Wiring,
    context: &StageContext,
) -> Result<Box<dyn Stage>, Failure> {
    let pool = match workers {
        1 => None,
        n => Some(
            ThreadPoolBuilder::new()
                .num_threads(n)
                .thread_name(|i| format!("decode-{i}"))
                .build()
                .map_err(|e| Failure::internal(format!("cannot start {n} decode threads: {e}")))?,
        ),
    };
    Ok(Box::new(Decode {
        decode,
        options: Arc::new(options),
        epoch: Start::of(context)?.epoch,
        chunk: if pool.is_some() { workers * CHUNK_PER_WORKER } else { 1 },
        pool,
        rejects: Rejects::new(settings, context)?,
        input: wiring.input("records")?,
        output: wiring.output("examples")?,
    }))
}

impl Stage for Decode {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        self.rejects.start()?;
        let mut chunk = Vec::with_capacity(self.chunk);
        loop {
            match self.input.recv()? {
                Packet::Item(record) => {
                    chunk.push(record);
                    if chunk.len() >= self.chunk {
                        self.decode(&mut chunk)?;
                    }
                }
                Packet::Mark(mark) => {
                    self.decode(&mut chunk)?;
                    let Mark::EpochEnd { epoch } = mark;
                    self.epoch = epoch + 1;
                    self.output.mark(mark)?;
                }
                Packet::End => return self.decode(&mut chunk),
            }
        }
    }
}

impl Decode {
    fn decode(&mut self, chunk: &mut Vec<Lazy<Record>>) -> Result<(), StageError> {
        let (decode, options) = (self.decode, &self.options);
        let decode = |record: Lazy<Record>| -> (u64, Decoded) {
            let position = record.position();
            match record.into_parts() {
                Ok(record) => (position, decode(&record, options).map(Ok)),
                Err(deferred) => (position, Ok(Err(deferred))),
            }
        };
        let decoded: Vec<_> = match &self.pool {
            // An indexed parallel collect keeps the order.
            Some(pool) if !chunk.iter().all(Lazy::is_deferred) => {
                pool.install(|| chunk.par_drain(..).map(decode).collect())
            }
            _ => chunk.drain(..).map(decode).collect(),
        };
        for (position, example) in decoded {
            match example {
                Ok(Ok(example)) => self.output.send(Lazy::ready(position, example))?,
                Ok(Err(record)) => self.pass_on(position, record)?,
                Err(error) => self.rejects.reject(error, self.epoch, position)?,
            }
        }
        Ok(())
    }

    /// Passes on a record that was not read, unless it is known to be a bad one.
    fn pass_on(&mut self, position: u64, record: Deferred<Record>) -> Result<(), StageError> {
        let Deferred { origin, load, bytes } = record;
        if let Some(reason) = self.rejects.known(&origin) {
            return Ok(self.rejects.reject_again(&origin, reason)?);
        }
        let (decode, options) = (self.decode, self.options.clone());
        let load: Loader<Video> =
            Arc::new(move |origin| decode(&load(origin)?, &options).map_err(data_changed));
        self.output.send(Lazy::deferred(position, Deferred { origin, load, bytes }))
    }
}

/// A video, or a record that is still to be read, or a bad record.
type Decoded = Result<Result<Video, Deferred<Record>>, RecordError>;
