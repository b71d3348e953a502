//! `yt8m_video_decode`: video-level Examples to ids, labels and mean features.
//!
//! Law: order is kept whatever `workers` is.

use framewise_pipeline::{
    Component, Failure, InputPort, KeyKind, KeySpec, OutputPort, PayloadType, Ports, Settings, Stage,
    StageContext, Wiring,
};
use serde::Deserialize;

use crate::decode::{DecodeRecord, decoding, workers_key};
use crate::payload::{Lazy, Record, Video, means_of};
use crate::rejects::reject_keys;
use crate::tfrecord::{DecodeOptions, decode_video};

/// The stage type.
pub(crate) struct Yt8mVideoDecode;

#[derive(Deserialize)]
struct Config {
    rgb_size: usize,
    audio_size: usize,
    classes: usize,
    workers: usize,
}

impl Component for Yt8mVideoDecode {
    fn type_name(&self) -> &'static str {
        "yt8m_video_decode"
    }

    fn doc(&self) -> &'static str {
        "Decodes YouTube-8M video-level records (tf.train.Example: id, labels, mean_rgb, mean_audio) for the video-level \
         models. Features stay as they are."
    }

    fn keys(&self) -> Vec<KeySpec> {
        let mut keys = vec![
            KeySpec::new("rgb_size", KeyKind::Integer(1..=1 << 20), "Numbers in mean_rgb.")
                .default(1024)
                .unit("features"),
            KeySpec::new("audio_size", KeyKind::Integer(1..=1 << 20), "Numbers in mean_audio.")
                .default(128)
                .unit("features"),
            KeySpec::new("classes", KeyKind::Integer(1..=1 << 24), "Labels must be below this.")
                .default(3862),
            workers_key(),
        ];
        keys.extend(reject_keys());
        keys
    }

    fn ports(&self, settings: &Settings) -> Ports {
        let sizes = (settings.integer("rgb_size"), settings.integer("audio_size"));
        Ports {
            inputs: vec![InputPort::new::<Lazy<Record>>("records", PayloadType::of::<Record>())],
            outputs: vec![OutputPort::new::<Lazy<Video>>("examples", means_of::<Video>(sizes), 64)],
        }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let config: Config = settings.parse()?;
        let options = DecodeOptions {
            rgb_size: config.rgb_size,
            audio_size: config.audio_size,
            classes: Some(config.classes),
            ..DecodeOptions::default()
        };
        let decode: DecodeRecord = |record, options| decode_video(record, options).map(Video::Means);
        decoding(decode, options, config.workers, settings, wiring, context)
    }
}
