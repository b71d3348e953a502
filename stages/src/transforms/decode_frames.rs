//! `yt8m_decode`: decodes frame-level SequenceExamples to ids, labels and frames of bytes.
//!
//! Laws: order is kept whatever `workers` is. A record that was not read yet is passed on as a video that was not read
//! yet.

use framewise_pipeline::prelude::*;

use super::decoding::{self, Decode, DecodeRecord, Workers};
use super::sampled;
use crate::payload::{Video, rows_of};
use crate::run_state::rejects::RejectKeys;
use crate::tfrecord::{DecodeOptions, decode_counted_frames};
use crate::yt8m;

/// The stage type `yt8m_decode`.
pub(crate) struct Yt8mDecode;

#[derive(Keys)]
pub(crate) struct Config {
    /// Bytes of a visual row.
    #[key(range = 1..=1 << 20, default = yt8m::RGB_SIZE, unit = "bytes")]
    rgb_size: usize,
    /// Bytes of an audio row.
    #[key(range = 1..=1 << 20, default = yt8m::AUDIO_SIZE, unit = "bytes")]
    audio_size: usize,
    /// The number of frames that are kept of a longer video.
    #[key(range = 1..=1 << 20, default = yt8m::MAX_FRAMES, unit = "frames")]
    max_frames: usize,
    /// The number of classes. Labels must be below it.
    #[key(range = 1..=1 << 24, default = yt8m::CLASSES)]
    classes: usize,
    #[key(flatten)]
    workers: Workers,
    #[key(flatten)]
    rejects: RejectKeys,
}

impl Config {
    fn options(&self) -> DecodeOptions {
        DecodeOptions {
            rgb_size: self.rgb_size,
            audio_size: self.audio_size,
            max_frames: self.max_frames,
            classes: Some(self.classes),
            ..DecodeOptions::default()
        }
    }
}

/// Decodes one record.
const DECODE: DecodeRecord = |record, options| {
    let (example, frames) = decode_counted_frames(record, options)?;
    let cut = frames > example.frames;
    Ok((Video::Frames(example), cut))
};

impl StageType for Yt8mDecode {
    const NAME: &'static str = "yt8m_decode";
    const DOC: &'static str = "Decodes YouTube-8M frame-level records (tf.train.SequenceExample) into id, labels and byte \
                               frames. Frames stay bytes: a quarter of the memory of floats. Videos longer than max_frames \
                               are cut.";
    type Config = Config;

    fn ports(config: &Config) -> Ports {
        let sizes = (config.rgb_size as u64, config.audio_size as u64);
        decoding::ports(rows_of::<Video>(sizes))
    }

    fn survey(config: &Config, site: &Site<'_>) -> Survey {
        sampled::survey(site, DECODE, &config.options(), config.rejects.skips())
    }

    fn estimate(config: &Config, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let options = config.options();
        Some(sampled::estimate(&config.workers, site, flows, |record| {
            decode_counted_frames(record, &options).ok().map(|(example, _)| example.byte_len())
        }))
    }

    fn divides(_config: &Config, _site: &Site<'_>) -> Result<(), String> {
        Ok(())
    }

    fn build(config: Config, wiring: &mut Wiring, context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        let options = config.options();
        let decode = Decode::new(DECODE, options, &config.workers, &config.rejects, context)?;
        Ok(decode.between(wiring.input("records")?, wiring.output("examples")?))
    }
}
