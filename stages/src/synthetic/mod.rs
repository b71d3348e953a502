//! Synthetic videos in the shape of YouTube-8M. A model can learn from them, so they serve to train, test and measure
//! without data.
//!
//! Law: [`SyntheticVideos::video`] is a pure function of (configuration, index). Its bytes are the same on every
//! machine, in any order and on any thread.
//!
//! `world_seed` makes the world: each class is a direction in a latent space, and one random projection takes the
//! latent space to the features of a frame. `seed` picks the videos: two seeds in one world give two splits of one
//! task. A video shows its labels in segments, and some of its frames show only background. Each frame is jittered in
//! the latent space, blurred by noise, clipped to [−2, 2], and quantised as in YouTube-8M:
//! `q = round((x + 2) · 255 / 4)`.

mod config;
mod world;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rand_chacha::{ChaCha8Rng, rand_core::RngCore};

use crate::payload::{Example, Origin, Rows};
use crate::random::below;
pub use config::{SyntheticConfig, SyntheticError};
use world::{World, stream};

/// An endless, indexed set of synthetic videos. It is cheap to share between threads. Building it takes about a tenth
/// of a second at full size.
pub struct SyntheticVideos {
    config: SyntheticConfig,
    world: World,
    file: Arc<Path>,
}

impl SyntheticVideos {
    /// Makes the world.
    ///
    /// # Errors
    /// [`SyntheticError`] with everything that is wrong with the configuration.
    pub fn new(config: SyntheticConfig) -> Result<Self, SyntheticError> {
        let problems = config.check();
        if !problems.is_empty() {
            return Err(SyntheticError { problems });
        }
        let world = World::new(&config);
        let file =
            PathBuf::from(format!("synthetic(world {}, seed {})", config.world_seed, config.seed)).into();
        Ok(Self { config, world, file })
    }

    /// The configuration that the set was made from.
    pub fn config(&self) -> &SyntheticConfig {
        &self.config
    }

    /// Makes video number `index`. The video's id is `s<seed>-<index>`. Its origin names the world, the seed and the
    /// index in place of a file.
    pub fn video(&self, index: u64) -> Example {
        let config = &self.config;
        let mut random = stream(*b"video   ", config.world_seed, config.seed, index);
        let spread = (config.max_frames - config.min_frames) as u64 + 1;
        let frames = config.min_frames + below(&mut random, spread) as usize;
        let labels = self.labels(&mut random, frames);
        let mut rgb = vec![0; frames * config.rgb_size];
        let mut audio = vec![0; frames * config.audio_size];
        // There are a dozen segments, or as many as it takes to show each label.
        let segment = (frames / 12).max(1).min(frames / labels.len());
        let mut shown = 0;
        let rows = rgb.chunks_exact_mut(config.rgb_size).zip(audio.chunks_exact_mut(config.audio_size));
        for (frame, (rgb, audio)) in rows.enumerate() {
            let (part, first) = (frame / segment, frame.is_multiple_of(segment));
            if first {
                shown =
                    if part < labels.len() { part } else { below(&mut random, labels.len() as u64) as usize };
            }
            // The first frame of each label's first segment is never background, so that every label is seen.
            let background = unit(&mut random) < config.background && !(first && part < labels.len());
            let class = (!background).then(|| labels[shown] as usize);
            self.world.frame(class, &mut random, rgb, audio);
        }
        let origin = self.origin(index);
        let (rgb, audio) = (Rows::packed(rgb, frames), Rows::packed(audio, frames));
        Example { id: format!("s{}-{index:06}", config.seed), labels, frames, rgb, audio, origin }
    }

    /// The origin of video number `index`.
    pub fn origin(&self, index: u64) -> Origin {
        Origin { file: Arc::clone(&self.file), record: index, byte: 0 }
    }

    /// Draws the labels of a video: at least one, and at most one for each frame.
    fn labels(&self, random: &mut ChaCha8Rng, frames: usize) -> Vec<u32> {
        // This is Knuth's method: uniform numbers are multiplied until their product falls below e^-mean.
        let least = (1.0 - self.config.mean_labels).exp();
        let mut labels = Vec::new();
        let mut product = 1.0;
        loop {
            labels.push(self.world.class_at(unit(random)) as u32);
            product *= unit(random);
            if product <= least {
                break;
            }
        }
        labels.sort_unstable();
        labels.dedup();
        labels.truncate(frames);
        labels
    }
}

/// Draws a uniform number in [0, 1), a multiple of 2^-53.
fn unit(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}
