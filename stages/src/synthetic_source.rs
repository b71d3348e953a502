//! `synthetic_videos`: a source of YouTube-8M-shaped videos that can be learned from, drawn from a seed.
//!
//! Law: video i is a function of (world_seed, seed, i), so every epoch and every run sees the same videos.

use std::sync::Arc;

use framewise_pipeline::{
    Component, Failure, KeyKind, KeySpec, Mark, Output, OutputPort, Ports, Settings, Stage, StageContext,
    StageError, Wiring,
};
use rayon::prelude::*;
use serde::Deserialize;

use crate::payload::{Deferred, Lazy, Loader, Video, rows_of};
use crate::resume::Start;
use crate::synthetic::{SyntheticConfig, SyntheticVideos};

/// Videos drawn at a time per worker.
const CHUNK_PER_WORKER: u64 = 8;

/// The stage type.
pub(crate) struct SyntheticSource;

#[derive(Deserialize)]
struct Config {
    videos: u64,
    epochs: u64,
    video_seed: u64,
    workers: usize,
}

struct Source {
    config: Config,
    videos: Arc<SyntheticVideos>,
    pool: rayon::ThreadPool,
    output: Output<Lazy<Video>>,
    start: Start,
}

impl Component for SyntheticSource {
    fn type_name(&self) -> &'static str {
        "synthetic_videos"
    }

    fn doc(&self) -> &'static str {
        "Draws YouTube-8M-shaped videos from a seed: every class has a prototype, each stretch of frames shows one of the \
         video's labels or background, and noise is added. They can be learned, so they serve for trying and measuring a \
         graph at full size without the data."
    }

    fn keys(&self) -> Vec<KeySpec> {
        vec![
            KeySpec::new("videos", KeyKind::at_least(1), "Videos of an epoch.").default(1000).unit("videos"),
            KeySpec::new("epochs", KeyKind::at_least(1), "How often they are sent.")
                .default(1)
                .unit("epochs")
                .free(),
            KeySpec::new("classes", KeyKind::Integer(1..=1 << 24), "Classes.").default(3862),
            KeySpec::new("rgb_size", KeyKind::Integer(1..=1 << 20), "Bytes of a visual row.")
                .default(1024)
                .unit("bytes"),
            KeySpec::new("audio_size", KeyKind::Integer(1..=1 << 20), "Bytes of an audio row.")
                .default(128)
                .unit("bytes"),
            KeySpec::new("min_frames", KeyKind::Integer(1..=1 << 20), "Frames of the shortest video.")
                .default(120)
                .unit("frames"),
            KeySpec::new("max_frames", KeyKind::Integer(1..=1 << 20), "Frames of the longest video.")
                .default(300)
                .unit("frames"),
            KeySpec::new("mean_labels", KeyKind::Float(1.0..=100.0), "Mean number of labels of a video.")
                .default(3.0),
            KeySpec::new(
                "noise",
                KeyKind::Float(0.0..=100.0),
                "Standard deviation of the noise on a feature.",
            )
            .default(1.0),
            KeySpec::new("background", KeyKind::Float(0.0..=1.0), "Share of frames that show no label.")
                .default(0.4),
            KeySpec::new(
                "world_seed",
                KeyKind::at_least(0),
                "Draws the prototypes: the task. Equal for training and test.",
            )
            .default(7),
            KeySpec::new("video_seed", KeyKind::at_least(0), "Draws the videos: the split of the task.")
                .default(1),
            KeySpec::new("workers", KeyKind::Integer(1..=256), "Threads that draw videos.")
                .default(1)
                .unit("threads")
                .free(),
        ]
    }

    fn ports(&self, settings: &Settings) -> Ports {
        let sizes = (settings.integer("rgb_size"), settings.integer("audio_size"));
        Ports {
            inputs: vec![],
            outputs: vec![OutputPort::new::<Lazy<Video>>("examples", rows_of::<Video>(sizes), 64)],
        }
    }

    fn check(&self, settings: &Settings) -> Vec<(&'static str, String)> {
        if settings.integer("min_frames") > settings.integer("max_frames") {
            return vec![("min_frames", "min_frames is greater than max_frames".into())];
        }
        Vec::new()
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let config: Config = settings.parse()?;
        let size = |key| usize::try_from(settings.integer(key)).unwrap_or(usize::MAX);
        let number = |key| settings.get(key).and_then(toml::Value::as_float).unwrap_or(0.0);
        let videos = SyntheticVideos::new(SyntheticConfig {
            classes: size("classes"),
            rgb_size: size("rgb_size"),
            audio_size: size("audio_size"),
            min_frames: size("min_frames"),
            max_frames: size("max_frames"),
            mean_labels: number("mean_labels"),
            noise: number("noise"),
            background: number("background"),
            world_seed: settings.integer("world_seed"),
            seed: config.video_seed,
            ..SyntheticConfig::default()
        })
        .map_err(Failure::config)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.workers)
            .build()
            .map_err(|e| Failure::internal(format!("cannot start threads: {e}")))?;
        Ok(Box::new(Source {
            config,
            videos: Arc::new(videos),
            pool,
            output: wiring.output("examples")?,
            start: Start::of(context)?,
        }))
    }
}

impl Stage for Source {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        let chunk = CHUNK_PER_WORKER * self.config.workers as u64;
        // Videos that the checkpoint's epoch has used up are drawn only if somebody wants them after all.
        let mut first = self.start.epoch_samples.min(self.config.videos);
        for index in 0..first {
            self.output.send(self.undrawn(index))?;
        }
        for epoch in self.start.epoch..self.config.epochs {
            while first < self.config.videos {
                let end = (first + chunk).min(self.config.videos);
                let draw = || (first..end).into_par_iter().map(|i| self.videos.video(i)).collect::<Vec<_>>();
                let drawn = self.pool.install(draw);
                for (index, example) in (first..).zip(drawn) {
                    self.output.send(Lazy::ready(index, Video::Frames(example)))?;
                }
                first = end;
            }
            first = 0;
            self.output.mark(Mark::EpochEnd { epoch })?;
        }
        Ok(())
    }
}

impl Source {
    fn undrawn(&self, index: u64) -> Lazy<Video> {
        let videos = self.videos.clone();
        let load: Loader<Video> = Arc::new(move |origin| Ok(Video::Frames(videos.video(origin.record))));
        Lazy::deferred(index, Deferred { origin: self.videos.origin(index), load, bytes: 0 })
    }
}
