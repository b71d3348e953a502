//! `yt8m_video_decode`: decodes video-level Examples to ids, labels and mean features.
//!
//! Law: order is kept whatever `workers` is.

use framewise_pipeline::prelude::*;

use super::decoding::{self, Decode, DecodeRecord, Workers};
use super::sampled;
use crate::payload::{Video, means_of};
use crate::run_state::rejects::RejectKeys;
use crate::tfrecord::{DecodeOptions, decode_video};
use crate::yt8m;

/// The stage type `yt8m_video_decode`.
pub(crate) struct Yt8mVideoDecode;

#[derive(Keys)]
pub(crate) struct Config {
    /// The number of features in mean_rgb.
    #[key(range = 1..=1 << 20, default = yt8m::RGB_SIZE, unit = "features")]
    rgb_size: usize,
    /// The number of features in mean_audio.
    #[key(range = 1..=1 << 20, default = yt8m::AUDIO_SIZE, unit = "features")]
    audio_size: usize,
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
            classes: Some(self.classes),
            ..DecodeOptions::default()
        }
    }
}

/// Decodes one record.
const DECODE: DecodeRecord = |record, options| Ok((Video::Means(decode_video(record, options)?), false));

impl StageType for Yt8mVideoDecode {
    const NAME: &'static str = "yt8m_video_decode";
    const DOC: &'static str = "Decodes YouTube-8M video-level records (tf.train.Example: id, labels, mean_rgb, mean_audio) \
                               for the video-level models. Features stay as they are.";
    type Config = Config;

    fn ports(config: &Config) -> Ports {
        let sizes = (config.rgb_size as u64, config.audio_size as u64);
        decoding::ports(means_of::<Video>(sizes))
    }

    fn survey(config: &Config, site: &Site<'_>) -> Survey {
        sampled::survey(site, DECODE, &config.options(), config.rejects.skips())
    }

    fn estimate(config: &Config, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let options = config.options();
        Some(sampled::estimate(&config.workers, site, flows, |record| {
            decode_video(record, &options).ok().map(|example| example.byte_len())
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
