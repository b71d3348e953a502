//! The world of synthetic videos: what the classes look like. It is prepared so that a frame is the sum of five table
//! rows.
//!
//! Law: once it is made, a world holds features only as integers, and frames come from integer arithmetic. No rounding
//! can therefore differ between machines. Small errors of the exponential and power functions affect only the
//! frequencies of classes.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::config::SyntheticConfig;

/// The number of table steps in one step of a quantised byte.
const FINE: f32 = 16.0;
/// The number of table steps in one unit of a feature before quantisation. 255/4 steps of a byte cover a unit.
const UNIT: f32 = FINE * 255.0 / 4.0;
/// The factor by which features are halved before they are clipped to [−2, 2], so that few are clipped.
const GAIN: f32 = 0.5;
/// The standard deviation of a frame's latent jitter, in each latent dimension.
const JITTER: f32 = 0.15;
/// The number of rows of latent jitter that are added to a frame, and also the number of runs of noise.
const TERMS: f32 = 2.0;
/// The number of places where a run of noise may begin.
const NOISE_STARTS: usize = 1 << 16;

pub(super) struct World {
    rgb_size: usize,
    /// The number of values in a row: first the visual features, then the audio features.
    width: usize,
    /// One row for each class, then a row of zeros for background.
    classes: Vec<i16>,
    /// For each latent dimension, a row up and a row down.
    jitter: Vec<i16>,
    jitters: usize,
    /// A long run of independent noise, of which frames take pieces.
    noise: Vec<i16>,
    /// The cumulated probabilities of the classes.
    cumulated: Vec<f64>,
}

impl World {
    /// Makes the world. `config` must have passed its check.
    pub(super) fn new(config: &SyntheticConfig) -> Self {
        let (rgb_size, width) = (config.rgb_size, config.rgb_size + config.audio_size);
        let (latent, seed) = (config.latent, config.world_seed);
        let mut random = stream(*b"project ", seed, 0, 0);
        let projection: Vec<f32> = (0..latent * width).map(|_| normal(&mut random)).collect();

        let mut random = stream(*b"classes ", seed, 0, 0);
        let mut classes = Vec::with_capacity((config.classes + 1) * width);
        let mut row = vec![0.0; width];
        for _ in 0..config.classes {
            let direction: Vec<f32> = (0..latent).map(|_| normal(&mut random)).collect();
            let length = direction.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            row.fill(0.0);
            for (x, projected) in direction.iter().zip(projection.chunks_exact(width)) {
                let scale = x / length * GAIN * UNIT;
                for (to, from) in row.iter_mut().zip(projected) {
                    *to += scale * from;
                }
            }
            classes.extend(row.iter().map(|&x| x.round() as i16));
        }
        classes.resize((config.classes + 1) * width, 0);

        // Two of the `latent` directions, drawn evenly, give the variance of the jitter in every dimension.
        let scale = JITTER * (latent as f32 / TERMS).sqrt() * GAIN * UNIT;
        let jitter = projection
            .chunks_exact(width)
            .flat_map(|row| [scale, -scale].map(|scale| row.iter().map(move |x| (x * scale).round() as i16)))
            .flatten()
            .collect();

        let mut random = stream(*b"noise   ", seed, 0, 0);
        let scale = config.noise as f32 / TERMS.sqrt() * GAIN * UNIT;
        let noise = (0..NOISE_STARTS + width).map(|_| (normal(&mut random) * scale).round() as i16).collect();

        let weights = (0..config.classes).map(|class| ((class + 1) as f64).powf(-0.8));
        let total: f64 = weights.clone().sum();
        let cumulated = weights
            .scan(0.0, |sum, weight| {
                *sum += weight / total;
                Some(*sum)
            })
            .collect();
        Self { rgb_size, width, classes, jitter, jitters: 2 * latent, noise, cumulated }
    }

    /// The class at `u` in [0, 1) of the cumulated probabilities.
    pub(super) fn class_at(&self, u: f64) -> usize {
        // Through rounding, the last sum may fall short of 1.
        self.cumulated.partition_point(|&sum| sum <= u).min(self.cumulated.len() - 1)
    }

    /// Writes one frame of `class`, or of background.
    pub(super) fn frame(
        &self,
        class: Option<usize>,
        random: &mut ChaCha8Rng,
        rgb: &mut [u8],
        audio: &mut [u8],
    ) {
        let bits = random.next_u64();
        let [jitter_a, jitter_b] = [bits, bits >> 16].map(|bits| {
            let row = ((bits & 0xffff) as usize * self.jitters) >> 16;
            &self.jitter[row * self.width..][..self.width]
        });
        let [noise_a, noise_b] =
            [bits >> 32, bits >> 48].map(|bits| &self.noise[(bits & 0xffff) as usize..][..self.width]);
        let class = class.unwrap_or(self.cumulated.len());
        let class = &self.classes[class * self.width..][..self.width];
        let rows = [class, jitter_a, jitter_b, noise_a, noise_b];
        quantise(rows.map(|row| &row[..self.rgb_size]), rgb);
        quantise(rows.map(|row| &row[self.rgb_size..]), audio);
    }
}

/// Adds five rows and rounds the sums to bytes. A sum of 0 becomes `round((0 + 2) · 255 / 4)`.
fn quantise(rows: [&[i16]; 5], out: &mut [u8]) {
    let [a, b, c, d, e] = rows.map(|row| &row[..out.len()]);
    for (i, out) in out.iter_mut().enumerate() {
        // Saturation happens far outside the range of a byte. 127.5 steps and half a step for rounding make 128 steps.
        let sum = a[i].saturating_add(b[i]).saturating_add(c[i]).saturating_add(d[i]).saturating_add(e[i]);
        *out = (sum.saturating_add(128 * FINE as i16) >> 4).clamp(0, 255) as u8;
    }
}

/// Draws an approximately normal number with variance 1, as the sum of eight uniform bytes. It uses no library
/// function, so it is the same everywhere.
fn normal(random: &mut ChaCha8Rng) -> f32 {
    let sum: i32 = random.next_u64().to_le_bytes().iter().map(|&byte| i32::from(byte)).sum();
    // The sum has mean 8 * 127.5 and variance 8 * (256^2 - 1) / 12.
    (sum - 1020) as f32 / 209.023_92
}

/// The random numbers for one purpose. They are a function of the arguments and of nothing else.
pub(super) fn stream(purpose: [u8; 8], world_seed: u64, seed: u64, index: u64) -> ChaCha8Rng {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_have_mean_0_and_variance_1() {
        let mut random = stream(*b"test    ", 0, 0, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| f64::from(normal(&mut random))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn quantisation_is_that_of_youtube_8m() {
        for step in -70_i16..70 {
            // `x` is the distance from the middle in bytes, a multiple of 1/16, and exact here. Ties go up.
            let x = f64::from(step) * 33.0 / 16.0;
            let expected = (x.clamp(-127.5, 127.5) + 127.5 + 0.5).floor() as u8;
            let row = [step * 33];
            let mut out = [0];
            quantise([&row, &[0], &[0], &[0], &[0]], &mut out);
            assert_eq!(out[0], expected, "{x}");
        }
        let mut out = [0; 2];
        quantise([&[i16::MAX, i16::MIN]; 5], &mut out);
        assert_eq!(out, [255, 0]);
    }

    #[test]
    fn classes_are_drawn_as_often_as_they_should_be() {
        let world = World::new(&SyntheticConfig {
            classes: 4,
            rgb_size: 1,
            audio_size: 1,
            latent: 1,
            ..SyntheticConfig::default()
        });
        let mut counts = [0.0; 4];
        for i in 0..10_000 {
            counts[world.class_at(f64::from(i) / 10_000.0)] += 1e-4;
        }
        let weights = [1.0, 0.574_349, 0.415_244, 0.329_877]; // n^-0.8, by hand
        for (count, weight) in counts.iter().zip(weights) {
            assert!((count - weight / weights.iter().sum::<f64>()).abs() < 2e-4, "{counts:?}");
        }
        assert_eq!(world.class_at(1.0), 3);
    }
}
