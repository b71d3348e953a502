//! `yt8m_decode`: frame-level SequenceExamples to ids, labels and byte frames.
//!
//! Law: order is kept whatever `workers` is.

use framewise_pipeline::{
    Component, Failure, Input, InputPort, KeyKind, KeySpec, Output, OutputPort, Packet, PayloadType, Ports,
    Settings, Stage, StageContext, StageError, Wiring,
};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Deserialize;

use crate::payload::{Record, Video, rows_of};
use crate::rejects::{Rejects, reject_keys};
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
    options: DecodeOptions,
    /// `None` decodes on the stage's own thread.
    pool: Option<ThreadPool>,
    chunk: usize,
    rejects: Rejects,
    input: Input<Record>,
    output: Output<Video>,
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
            inputs: vec![InputPort::new::<Record>("records", PayloadType::of::<Record>())],
            outputs: vec![OutputPort::new::<Video>("examples", rows_of::<Video>(sizes), 64)],
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
    KeySpec::new("workers", KeyKind::Integer(1..=256), doc).default(1).unit("threads")
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
        options,
        chunk: if pool.is_some() { workers * CHUNK_PER_WORKER } else { 1 },
        pool,
        rejects: Rejects::new(settings, context),
        input: wiring.input("records")?,
        output: wiring.output("examples")?,
    }))
}

impl Stage for Decode {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
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
                    self.output.mark(mark)?;
                }
                Packet::End => return self.decode(&mut chunk),
            }
        }
    }
}

impl Decode {
    fn decode(&mut self, chunk: &mut Vec<Record>) -> Result<(), StageError> {
        let (decode, options) = (self.decode, &self.options);
        let decoded: Vec<_> = match &self.pool {
            None => chunk.iter().map(|record| decode(record, options)).collect(),
            // An indexed parallel collect keeps the order.
            Some(pool) => pool.install(|| chunk.par_iter().map(|record| decode(record, options)).collect()),
        };
        chunk.clear();
        for example in decoded {
            match example {
                Ok(example) => self.output.send(example)?,
                Err(error) => self.rejects.reject(error)?,
            }
        }
        Ok(())
    }
}
