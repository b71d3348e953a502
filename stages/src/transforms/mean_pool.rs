//! `mean_pool`: makes video-level videos of frame-level ones, as the means of their frames' features.
//!
//! Law: a mean is a function of the set of frames. The codes are added as whole numbers, and the result is rounded to
//! f32 once.
//!
//! In both modalities, a code `q` stands for `q · 4/255 − 2 + 4/512`, the middle of its quantisation step, as in
//! `Dequantize` of YouTube-8M's starter code. The starter code averages such values (`FrameLevelLogisticModel`), and
//! the published video-level features are such means. NeXtVLAD's own formula differs: its reference systems leave out
//! the half step for the visual features and undo the PCA whitening, which video-level features keep.

use framewise_pipeline::prelude::*;

use crate::payload::{Lazy, Rows, Video, VideoExample, means_of, rows_of};
use crate::yt8m;

/// The width of a quantisation step.
const STEP: f64 = 4.0 / 255.0;

/// The value that the code 0 stands for.
const OFFSET: f64 = 4.0 / 512.0 - 2.0;

/// The stage type `mean_pool`.
pub(crate) struct MeanPool;

#[derive(Keys)]
pub(crate) struct Config {
    /// Visual features of a frame.
    #[key(range = 1..=1 << 20, default = yt8m::RGB_SIZE, unit = "features")]
    rgb_size: usize,
    /// Audio features of a frame.
    #[key(range = 1..=1 << 20, default = yt8m::AUDIO_SIZE, unit = "features")]
    audio_size: usize,
}

impl TransformType for MeanPool {
    const NAME: &'static str = "mean_pool";
    const DOC: &'static str = "Averages each video's dequantised frames, so that frame-level files serve the video-level \
                               models. Features are q · 4/255 − 2 + 4/512 as in YouTube-8M's starter code; no eigenvalues \
                               are applied.";
    type Config = Config;

    fn ports(config: &Config) -> (InputPort, OutputPort) {
        let sizes = (config.rgb_size as u64, config.audio_size as u64);
        (
            InputPort::new::<Lazy<Video>>("examples", rows_of::<Video>(sizes)),
            OutputPort::new::<Lazy<Video>>("examples", means_of::<Video>(sizes), 64),
        )
    }

    fn estimate(config: &Config, _site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let bytes = (config.rgb_size + config.audio_size) as u64 * size_of::<f32>() as u64;
        Some(Estimate::default().sends("examples", flows.of("examples").of_bytes(Some(bytes))))
    }

    fn divides(_config: &Config, _site: &Site<'_>) -> Result<(), String> {
        Ok(())
    }

    fn new(_config: Config, _context: &StageContext) -> Result<Self, Failure> {
        Ok(Self)
    }
}

impl Transform for MeanPool {
    type In = Lazy<Video>;
    type Out = Lazy<Video>;

    fn process(&mut self, video: Lazy<Video>, out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        out.emit(video.map(pool)?)
    }
}

fn pool(video: Video) -> Result<Video, Failure> {
    let Video::Frames(example) = video else {
        return Err(Failure::internal("mean_pool was sent a video-level video"));
    };
    Ok(Video::Means(VideoExample {
        mean_rgb: means(&example.rgb),
        mean_audio: means(&example.audio),
        id: example.id,
        labels: example.labels,
        origin: example.origin,
    }))
}

/// The mean [width] of the dequantised rows of `codes` [frames, width].
fn means(codes: &Rows) -> Vec<f32> {
    let frames = codes.len().max(1);
    let mut sums = vec![0u64; codes.width()];
    for row in codes.iter() {
        for (sum, code) in sums.iter_mut().zip(row) {
            *sum += u64::from(*code);
        }
    }
    // Dequantising is affine, so the mean of the features is the feature of the mean code.
    sums.into_iter().map(|sum| (sum as f64 / frames as f64 * STEP + OFFSET) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_that_of_the_dequantised_frames() {
        let codes: Vec<u8> = (0..300 * 5).map(|i| (i * i * 7 + i / 3) as u8).collect();
        for frames in [1, 2, 3, 299, 300] {
            let codes = &codes[..frames * 5];
            let found = means(&Rows::packed(codes.to_vec(), frames));
            assert_eq!(found.len(), 5);
            for (column, found) in found.iter().enumerate() {
                let features = (0..frames)
                    .map(|frame| f64::from(codes[frame * 5 + column]) * (4.0 / 255.0) + (4.0 / 512.0) - 2.0);
                let mean = features.sum::<f64>() / frames as f64;
                // A number below 2 is rounded to f32 once.
                assert!((f64::from(*found) - mean).abs() <= 1.2e-7, "{frames} {column}: {found} {mean}");
            }
        }
        assert_eq!(means(&Rows::packed(vec![0, 255], 1)), [-2.0 + 0.0078125, 2.0078125]);
    }
}
