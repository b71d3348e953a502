//! `synthetic_videos`: a source of videos in the shape of YouTube-8M, which are drawn from a seed and from which a
//! model can learn.
//!
//! Law: video i is a function of (world_seed, seed, i), so every epoch and every run sees the same videos.

use std::sync::Arc;

use framewise_pipeline::prelude::*;
use rayon::prelude::*;

use crate::payload::{Deferred, Lazy, Loader, Video, rows_of};
use crate::run_state::resume::Start;
use crate::synthetic::{SyntheticConfig, SyntheticVideos};

/// The number of videos that each worker draws at a time.
const CHUNK_PER_WORKER: u64 = 8;

/// The stage type `synthetic_videos`.
pub(crate) struct SyntheticSource;

#[derive(Keys)]
pub(crate) struct Config {
    /// The number of videos of an epoch.
    #[key(range = 1.., default = 1000, unit = "videos")]
    videos: u64,
    /// The number of times that the videos are sent.
    #[key(range = 1.., default = 1, unit = "epochs", free)]
    epochs: u64,
    #[key(flatten)]
    world: SyntheticConfig,
    /// The number of threads that draw videos.
    #[key(range = 1..=256, default = 1, unit = "threads", free)]
    workers: usize,
}

struct Source {
    config: Config,
    videos: Arc<SyntheticVideos>,
    pool: rayon::ThreadPool,
    output: Output<Lazy<Video>>,
    start: Start,
    context: StageContext,
}

impl StageType for SyntheticSource {
    const NAME: &'static str = "synthetic_videos";
    const DOC: &'static str = "Draws YouTube-8M-shaped videos from a seed: every class has a prototype, each stretch of \
                               frames shows one of the video's labels or background, and noise is added. They can be \
                               learned, so they serve for trying and measuring a graph at full size without the data.";
    type Config = Config;

    fn ports(config: &Config) -> Ports {
        let sizes = (config.world.rgb_size as u64, config.world.audio_size as u64);
        let examples = OutputPort::new::<Lazy<Video>>("examples", rows_of::<Video>(sizes), 64);
        Ports { inputs: vec![], outputs: vec![examples] }
    }

    fn check(config: &Config, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        let keys = SyntheticConfig::keys();
        let placed = config.world.check().into_iter().map(|problem| {
            // The message begins with the key that it is about, except where it is about the product of several.
            let key = keys.iter().find(|key| problem.split(' ').next() == Some(key.name));
            (key.map_or("classes", |key| key.name), problem)
        });
        placed.collect()
    }

    fn estimate(config: &Config, _site: &Site<'_>, _flows: &Flows) -> Option<Estimate> {
        let world = &config.world;
        let bytes =
            (world.min_frames + world.max_frames) as u64 * (world.rgb_size + world.audio_size) as u64 / 2;
        let (items, epochs) = (Some(config.videos), Some(config.epochs));
        let flow = Flow { items, exact: true, epochs, bytes: Some(bytes), ..Flow::default() };
        let drawn = CHUNK_PER_WORKER * config.workers as u64;
        let estimate = Estimate::default()
            .holds("the features of the classes", world.world_bytes())
            .holds("videos drawn together", drawn.min(config.videos).saturating_mul(bytes));
        Some(estimate.sends("examples", flow))
    }

    fn divides(_config: &Config, _site: &Site<'_>) -> Result<(), String> {
        Err("every rank would make all of its videos: write them to a file with `tfrecord_writer`, and read that".to_owned())
    }

    fn build(config: Config, wiring: &mut Wiring, context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        let videos = SyntheticVideos::new(config.world.clone()).map_err(Failure::config)?;
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
            context: context.clone(),
        }))
    }
}

impl Stage for Source {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        let chunk = CHUNK_PER_WORKER * self.config.workers as u64;
        // Videos that the checkpoint's epoch has used up are drawn only if a stage wants them after all.
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
                let all = self.config.videos as f64 * self.config.epochs as f64;
                self.context
                    .meter
                    .progressed((self.config.videos as f64 * epoch as f64 + first as f64) / all);
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
