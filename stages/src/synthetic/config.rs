//! The configuration of synthetic videos.

use framewise_pipeline::Keys;

use crate::yt8m;

/// The configuration of synthetic videos, and the keys of the stage that draws them. The defaults are the shape of
/// YouTube-8M 2018.
///
/// Class `c` is drawn with a probability proportional to `(c + 1)^-0.8`. A video has one label and a Poisson number of
/// others, of which equal ones count once. All lengths between the shortest and the longest are equally likely. The
/// standard deviation of a class itself is 1, and [`SyntheticConfig::check`] refuses a noise of more than 16.
#[derive(Clone, Debug, PartialEq, Keys)]
pub struct SyntheticConfig {
    /// Classes.
    #[key(range = 1..=1 << 24, default = yt8m::CLASSES)]
    pub classes: usize,
    /// Bytes of a visual row.
    #[key(range = 1..=1 << 20, default = yt8m::RGB_SIZE, unit = "bytes")]
    pub rgb_size: usize,
    /// Bytes of an audio row.
    #[key(range = 1..=1 << 20, default = yt8m::AUDIO_SIZE, unit = "bytes")]
    pub audio_size: usize,
    /// Frames of the shortest video.
    #[key(range = 1..=1 << 20, default = 120, unit = "frames")]
    pub min_frames: usize,
    /// Frames of the longest video.
    #[key(range = 1..=1 << 20, default = yt8m::MAX_FRAMES, unit = "frames")]
    pub max_frames: usize,
    /// Mean number of labels of a video.
    #[key(range = 1.0..=100.0, default = 3.0)]
    pub mean_labels: f64,
    /// Standard deviation of the noise on a feature.
    #[key(range = 0.0..=16.0, default = 1.0)]
    pub noise: f64,
    /// Share of frames that show no label.
    #[key(range = 0.0..=1.0, default = 0.4)]
    pub background: f64,
    /// The seed that draws the prototypes, and so the task. Use the same one for training and test.
    #[key(range = 0.., default = 7)]
    pub world_seed: u64,
    /// The seed that draws the videos, and so the split of the task.
    #[key(name = "video_seed", range = 0.., default = 1)]
    pub seed: u64,
    /// The dimensions of the latent space, 1 to 4096. Fewer dimensions make the classes more alike. The stage has 64.
    #[key(skip = 64)]
    pub latent: usize,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self::defaults()
    }
}

/// The most that the features of all classes may occupy in memory, in bytes: 1 GiB.
const MAX_WORLD_BYTES: u128 = 1 << 30;

impl SyntheticConfig {
    /// The bytes that the features of all classes occupy in memory.
    pub fn world_bytes(&self) -> u64 {
        let width = self.rgb_size as u128 + self.audio_size as u128;
        let rows = self.classes as u128 + 3 * self.latent as u128;
        u64::try_from(rows.saturating_mul(2 * width)).unwrap_or(u64::MAX)
    }

    /// Everything that is wrong with the values. The list is empty if they can be used.
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
        let bytes = u128::from(self.world_bytes());
        require(
            bytes <= MAX_WORLD_BYTES,
            format!(
                "classes = {} of {width} features need {bytes} bytes, more than {MAX_WORLD_BYTES}",
                self.classes
            ),
        );
        // Nothing else bounds the size of a single video.
        let video = (max as u128).saturating_mul(width);
        require(
            video <= MAX_WORLD_BYTES,
            format!("max_frames = {max} makes videos of {video} bytes, more than {MAX_WORLD_BYTES}"),
        );
        problems
    }
}

/// The error for a configuration that [`SyntheticConfig::check`] refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("synthetic videos: {}", problems.join("; "))]
pub struct SyntheticError {
    /// Everything that is wrong with the configuration.
    pub problems: Vec<String>,
}
