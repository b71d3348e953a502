//! `mean_pool`: frame-level videos to video-level ones, the means of their frames' features.
//!
//! Law: a mean is a function of the set of frames: the codes are added as whole numbers, and one rounding to f32
//! follows at the end.
//!
//! A code `q` stands for `q · 4/255 − 2 + 4/512` in both modalities, the middle of its quantisation step, as in
//! `Dequantize` of YouTube-8M's starter code, which averages what it yields (`FrameLevelLogisticModel`); the
//! published video-level features are such means. NeXtVLAD's own formula differs: its reference systems leave out the
//! half step at the visual features and undo the PCA whitening, which video-level features keep.

use std::sync::Arc;

use framewise_pipeline::{
    Component, Emitter, Failure, InputPort, KeyKind, KeySpec, OutputPort, Ports, Settings, Stage,
    StageContext, StageError, Transform, Wiring,
};

use crate::payload::{Deferred, Lazy, Loader, Video, VideoExample, means_of, rows_of};

/// Width of a quantisation step.
const STEP: f64 = 4.0 / 255.0;

/// What code 0 stands for.
const OFFSET: f64 = 4.0 / 512.0 - 2.0;

/// The stage type.
pub(crate) struct MeanPool;

struct Pooling;

impl Component for MeanPool {
    fn type_name(&self) -> &'static str {
        "mean_pool"
    }

    fn doc(&self) -> &'static str {
        "Averages each video's dequantised frames, so that frame-level files serve the video-level models. Features are \
         q · 4/255 − 2 + 4/512 as in YouTube-8M's starter code; no eigenvalues are applied."
    }

    fn keys(&self) -> Vec<KeySpec> {
        vec![
            KeySpec::new("rgb_size", KeyKind::Integer(1..=1 << 20), "Visual features of a frame.")
                .default(1024)
                .unit("features"),
            KeySpec::new("audio_size", KeyKind::Integer(1..=1 << 20), "Audio features of a frame.")
                .default(128)
                .unit("features"),
        ]
    }

    fn ports(&self, settings: &Settings) -> Ports {
        let sizes = (settings.integer("rgb_size"), settings.integer("audio_size"));
        Ports {
            inputs: vec![InputPort::new::<Lazy<Video>>("examples", rows_of::<Video>(sizes))],
            outputs: vec![OutputPort::new::<Lazy<Video>>("examples", means_of::<Video>(sizes), 64)],
        }
    }

    fn build(
        &self,
        _settings: &Settings,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        Ok(Pooling.between(wiring.input("examples")?, wiring.output("examples")?))
    }
}

impl Transform for Pooling {
    type In = Lazy<Video>;
    type Out = Lazy<Video>;

    fn process(&mut self, video: Lazy<Video>, out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        let position = video.position();
        out.emit(match video.into_parts() {
            Ok(video) => Lazy::ready(position, pool(video)?),
            Err(Deferred { origin, load, bytes }) => {
                let load: Loader<Video> = Arc::new(move |origin| pool(load(origin)?));
                Lazy::deferred(position, Deferred { origin, load, bytes })
            }
        })
    }
}

fn pool(video: Video) -> Result<Video, Failure> {
    let Video::Frames(example) = video else {
        return Err(Failure::internal("mean_pool was sent a video-level video"));
    };
    Ok(Video::Means(VideoExample {
        mean_rgb: means(&example.rgb, example.frames),
        mean_audio: means(&example.audio, example.frames),
        id: example.id,
        labels: example.labels,
        origin: example.origin,
    }))
}

/// Mean of the dequantised rows of `codes` [frames, width], [width].
fn means(codes: &[u8], frames: usize) -> Vec<f32> {
    let frames = frames.max(1);
    let width = codes.len() / frames;
    let mut sums = vec![0u64; width];
    for row in codes.chunks_exact(width.max(1)) {
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
            let found = means(codes, frames);
            assert_eq!(found.len(), 5);
            for (column, found) in found.iter().enumerate() {
                let features = (0..frames)
                    .map(|frame| f64::from(codes[frame * 5 + column]) * (4.0 / 255.0) + (4.0 / 512.0) - 2.0);
                let mean = features.sum::<f64>() / frames as f64;
                // One rounding to f32 of a number below 2.
                assert!((f64::from(*found) - mean).abs() <= 1.2e-7, "{frames} {column}: {found} {mean}");
            }
        }
        assert_eq!(means(&[0, 255], 1), [-2.0 + 0.0078125, 2.0078125]);
    }
}
