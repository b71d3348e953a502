//! Made-up videos of YouTube-8M's shape that can be learnt: to train, test and measure without data.
//!
//! One law: [`SyntheticVideos::video`] is a pure function of (configuration, index), with the same bytes on every
//! machine, in any order, on any thread.
//!
//! The world belongs to `world_seed`: each class is a direction in a latent space, and one random projection takes the
//! latent space to the features of a frame. `seed` picks the videos: two seeds in one world are two splits of one task.
//! A video shows its labels in segments, some frames show background only, and each frame is jittered in the latent
//! space, blurred by noise, clipped to [−2, 2] and quantised as YouTube-8M does: `q = round((x + 2) · 255 / 4)`.

mod world;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde::{Deserialize, Serialize};

use crate::{
    files::below,
    payload::{Example, Origin},
};
use world::World;

/// What the videos are like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticConfig {
    /// Number of classes. Class `c` is drawn with a probability proportional to `(c + 1)^-0.8`. Default 3862.
    pub classes: usize,
    /// Visual features a frame. Default 1024.
    pub rgb_size: usize,
    /// Audio features a frame. Default 128.
    pub audio_size: usize,
    /// Fewest frames of a video. Default 120.
    pub min_frames: usize,
    /// Most frames of a video; lengths in between are equally likely. Default 300.
    pub max_frames: usize,
    /// Labels drawn for a video: 1 and a Poisson number, this many on average, 1 to 100. Equal ones count once.
    /// Default 3.
    pub mean_labels: f64,
    /// Which videos of the world. Default 1.
    pub seed: u64,
    /// Which world: the classes and what they look like. Default 7.
    pub world_seed: u64,
    /// Standard deviation of the noise on each feature, where a class itself has 1; 0 to 16. Default 1.
    pub noise: f64,
    /// Share of frames that show none of the labels, 0 to 1. Default 0.4.
    pub background: f64,
    /// Dimensions of the latent space, 1 to 4096: the fewer, the more alike the classes. Default 64.
    pub latent: usize,
}

impl Default for SyntheticConfig {
    /// The shape of YouTube-8M 2018.
    fn default() -> Self {
        Self {
            classes: 3862,
            rgb_size: 1024,
            audio_size: 128,
            min_frames: 120,
            max_frames: 300,
            mean_labels: 3.0,
            seed: 1,
            world_seed: 7,
            noise: 1.0,
            background: 0.4,
            latent: 64,
        }
    }
}

/// The most that the features of all classes may occupy in memory, in bytes: 1 GiB.
const MAX_WORLD_BYTES: u128 = 1 << 30;

impl SyntheticConfig {
    /// Everything that is wrong with the values; nothing if they can be used.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |good: bool, problem: String| {
            if !good {
                problems.push(problem);
            }
        };
        for (name, value) in [
            ("classes", self.classes),
            ("rgb_size", self.rgb_size),
            ("audio_size", self.audio_size),
            ("min_frames", self.min_frames),
        ] {
            require(value >= 1, format!("{name} must be at least 1"));
        }
        let (min, max) = (self.min_frames, self.max_frames);
        require(min <= max, format!("min_frames = {min} is more than max_frames = {max}"));
        require((1..=4096).contains(&self.latent), format!("latent = {} is not in 1 to 4096", self.latent));
        for (name, value, least, most) in [
            ("mean_labels", self.mean_labels, 1.0, 100.0),
            ("noise", self.noise, 0.0, 16.0),
            ("background", self.background, 0.0, 1.0),
        ] {
            require((least..=most).contains(&value), format!("{name} = {value} is not in {least} to {most}"));
        }
        let width = self.rgb_size as u128 + self.audio_size as u128;
        let rows = self.classes as u128 + 3 * self.latent as u128;
        let bytes = rows.saturating_mul(2 * width);
        require(
            bytes <= MAX_WORLD_BYTES,
            format!("the classes' features need {bytes} bytes, more than {MAX_WORLD_BYTES}"),
        );
        // A video's own size is not bounded otherwise.
        let video = (max as u128).saturating_mul(width);
        require(
            video <= MAX_WORLD_BYTES,
            format!("the longest video has {video} bytes, more than {MAX_WORLD_BYTES}"),
        );
        problems
    }
}

/// A configuration that [`SyntheticConfig::check`] refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("synthetic videos: {}", problems.join("; "))]
pub struct SyntheticError {
    /// Everything that is wrong.
    pub problems: Vec<String>,
}

/// An endless, indexed set of videos. Cheap to share between threads; building it takes about a tenth of a second at
/// full size.
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

    /// What it was made from.
    pub fn config(&self) -> &SyntheticConfig {
        &self.config
    }

    /// Video number `index`. Its id is `s<seed>-<index>`; its origin names no file but the world, the seed and the index.
    pub fn video(&self, index: u64) -> Example {
        let config = &self.config;
        let mut random = stream(*b"video   ", config.world_seed, config.seed, index);
        let spread = (config.max_frames - config.min_frames) as u64 + 1;
        let frames = config.min_frames + below(&mut random, spread) as usize;
        let labels = self.labels(&mut random, frames);
        let mut rgb = vec![0; frames * config.rgb_size];
        let mut audio = vec![0; frames * config.audio_size];
        // A dozen segments, or as many as it takes to show each label.
        let segment = (frames / 12).max(1).min(frames / labels.len());
        let mut shown = 0;
        let rows = rgb.chunks_exact_mut(config.rgb_size).zip(audio.chunks_exact_mut(config.audio_size));
        for (frame, (rgb, audio)) in rows.enumerate() {
            let (part, first) = (frame / segment, frame.is_multiple_of(segment));
            if first {
                shown =
                    if part < labels.len() { part } else { below(&mut random, labels.len() as u64) as usize };
            }
            // The first frame of each label's first segment is never background: nothing is labelled unseen.
            let background = unit(&mut random) < config.background && !(first && part < labels.len());
            let class = (!background).then(|| labels[shown] as usize);
            self.world.frame(class, &mut random, rgb, audio);
        }
        let origin = self.origin(index);
        Example { id: format!("s{}-{index:06}", config.seed), labels, frames, rgb, audio, origin }
    }

    /// The origin of video number `index`.
    pub fn origin(&self, index: u64) -> Origin {
        Origin { file: Arc::clone(&self.file), record: index, byte: 0 }
    }

    /// At least one label, at most one a frame.
    fn labels(&self, random: &mut ChaCha8Rng, frames: usize) -> Vec<u32> {
        // Knuth: uniform numbers are multiplied until their product falls below e^-mean.
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

/// The random numbers of one purpose: a function of what is named and nothing else.
fn stream(purpose: [u8; 8], world_seed: u64, seed: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (to, from) in key.chunks_exact_mut(8).zip([
        purpose,
        world_seed.to_le_bytes(),
        seed.to_le_bytes(),
        index.to_le_bytes(),
    ]) {
        to.copy_from_slice(&from);
    }
    ChaCha8Rng::from_seed(key)
}

/// Uniform in [0, 1): a multiple of 2^-53.
fn unit(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}
