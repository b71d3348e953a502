//! Makes small record files like those of YouTube-8M, good or damaged on purpose.
//!
//! The files hold videos of 16 visual and 4 audio features with 10 classes, unless sizes are given. Everything in them
//! follows from the number of the video, so a test can say what must come out:
//!
//! ```ignore
//! let desk = Desk::new();
//! // Six frame-level videos, `video-0` to `video-5`; the payload of the third does not fit its CRC.
//! let train = Records::frame_level(6).damage(Damage::DataCrc(2)).write(&desk.path("train.tfrecord"));
//! desk.write("copy.toml", &copy_graph(&train, 16, 4, 10));
//! // Four video-level ones of other sizes, packed, that nobody has labelled.
//! Records::video_level(4).sizes(8, 2).labels(|_| vec![]).gzip().write(&desk.path("test.tfrecord"));
//! // No videos at all: a file of no bytes, and a GZIP file of nothing.
//! Records::frame_level(0).write(&desk.path("empty.tfrecord"));
//! Records::frame_level(0).gzip().write(&desk.path("empty.tfrecord.gz"));
//! ```

use std::path::Path;
use std::sync::Arc;

use framewise_stages::payload::{Example, Origin, Rows, VideoExample};
use framewise_stages::tfrecord::{Compression, RecordWriter, encode_frames, encode_video};
use prost::Message;
use tfrecord::protobuf::feature::Kind;
use tfrecord::protobuf::{self, BytesList, Feature, Features, SequenceExample};

/// One way to damage a file. The number is that of the record, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The CRC of the record's length is wrong, so nothing behind it can be found.
    LengthCrc(usize),
    /// A byte of the record's payload was changed, and its CRC shows that.
    DataCrc(usize),
    /// The file ends in the middle of the record's payload.
    Truncated(usize),
    /// The id is two bytes that are not UTF-8.
    IdNotUtf8(usize),
    /// The record lacks the feature of this name: `id`, `labels`, `rgb`, `audio`, `mean_rgb` or `mean_audio`.
    Missing(usize, &'static str),
    /// Bytes that are not a GZIP member follow the last member of a packed file.
    GarbageAfterGzip,
}

/// The kind of video that a record holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Frame,
    Video,
}

/// The place of a feature: the number of the video, the frame (0 in a video-level record), and the column, where the
/// audio features follow the visual ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) video: usize,
    pub(crate) frame: usize,
    pub(crate) column: usize,
}

/// A record file that is to be written.
pub(crate) struct Records {
    level: Level,
    videos: usize,
    rgb: usize,
    audio: usize,
    frames: Box<dyn Fn(usize) -> usize>,
    id: Box<dyn Fn(usize) -> String>,
    labels: Box<dyn Fn(usize) -> Vec<u32>>,
    features: Option<Box<dyn Fn(Place) -> f32>>,
    damage: Vec<Damage>,
    compression: Compression,
}

impl Records {
    /// This many videos of three to six frames, each with an id and one of ten labels.
    pub(crate) fn frame_level(videos: usize) -> Self {
        Self {
            level: Level::Frame,
            videos,
            rgb: 16,
            audio: 4,
            frames: Box::new(|video| 3 + video % 4),
            id: Box::new(|video| format!("video-{video}")),
            labels: Box::new(|video| vec![video as u32 % 10]),
            features: None,
            damage: Vec::new(),
            compression: Compression::None,
        }
    }

    /// This many videos that are given by the means of their frames, each with an id and one of ten labels.
    pub(crate) fn video_level(videos: usize) -> Self {
        Self { level: Level::Video, ..Self::frame_level(videos) }
    }

    /// Sets the numbers of visual and audio features of a frame.
    pub(crate) fn sizes(mut self, rgb: usize, audio: usize) -> Self {
        (self.rgb, self.audio) = (rgb, audio);
        self
    }

    /// Sets the number of frames of a video, from the video's number. A video-level record has no frames.
    pub(crate) fn frames(mut self, frames: impl Fn(usize) -> usize + 'static) -> Self {
        self.frames = Box::new(frames);
        self
    }

    /// Sets the id of a video, from the video's number.
    pub(crate) fn ids(mut self, id: impl Fn(usize) -> String + 'static) -> Self {
        self.id = Box::new(id);
        self
    }

    /// Sets the labels of a video, ascending, from the video's number. No labels give an empty list.
    pub(crate) fn labels(mut self, labels: impl Fn(usize) -> Vec<u32> + 'static) -> Self {
        self.labels = Box::new(labels);
        self
    }

    /// Sets the features. In a frame-level record they are whole numbers below 256.
    pub(crate) fn features(mut self, features: impl Fn(Place) -> f32 + 'static) -> Self {
        self.features = Some(Box::new(features));
        self
    }

    /// Damages the file in this way too.
    pub(crate) fn damage(mut self, damage: Damage) -> Self {
        self.damage.push(damage);
        self
    }

    /// Packs the whole file by GZIP.
    pub(crate) fn gzip(mut self) -> Self {
        self.compression = Compression::Gzip;
        self
    }

    /// A frame-level video as a reader decodes it when nothing is damaged. Its origin is not set.
    pub(crate) fn example(&self, video: usize) -> Example {
        let frames = (self.frames)(video);
        let features = |size: usize, first: usize| {
            let before = if first == 0 { 0 } else { self.rgb };
            let at = |frame, column| match &self.features {
                Some(features) => features(Place { video, frame, column: before + column }) as u8,
                None => (first + 37 * video + 11 * frame + 5 * column) as u8,
            };
            let at = &at;
            let bytes = (0..frames).flat_map(|frame| (0..size).map(move |column| at(frame, column)));
            Rows::packed(bytes.collect::<Vec<u8>>(), frames)
        };
        Example {
            id: (self.id)(video),
            labels: (self.labels)(video),
            frames,
            rgb: features(self.rgb, 0),
            audio: features(self.audio, 128),
            origin: nowhere(),
        }
    }

    /// A video-level video as a reader decodes it when nothing is damaged. Its origin is not set.
    pub(crate) fn video_example(&self, video: usize) -> VideoExample {
        let means = |size: usize, first: usize| -> Vec<f32> {
            let before = if first == 0 { 0 } else { self.rgb };
            let at = |column| match &self.features {
                Some(features) => features(Place { video, frame: 0, column: before + column }),
                None => ((first + 37 * video + 5 * column) % 256) as f32 / 128.0 - 1.0,
            };
            (0..size).map(at).collect()
        };
        VideoExample {
            id: (self.id)(video),
            labels: (self.labels)(video),
            mean_rgb: means(self.rgb, 0),
            mean_audio: means(self.audio, 128),
            origin: nowhere(),
        }
    }

    /// Writes the file. Returns its path in the form in which a graph names it.
    pub(crate) fn write(&self, path: &Path) -> String {
        std::fs::write(path, self.bytes()).unwrap();
        path.display().to_string()
    }

    /// The bytes of the file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        for video in 0..self.videos {
            let payload = self.payload(video);
            let start = plain.len();
            let mut writer = RecordWriter::new("memory", &mut plain, Compression::None);
            writer.write(&payload).unwrap();
            writer.finish().unwrap();
            if self.has(Damage::LengthCrc(video)) {
                plain[start + 8] ^= 1;
            }
            if self.has(Damage::DataCrc(video)) {
                plain[start + 12 + payload.len() / 2] ^= 1;
            }
            if self.has(Damage::Truncated(video)) {
                plain.truncate(start + 12 + payload.len() / 2);
                break;
            }
        }
        if self.compression == Compression::None {
            assert!(!self.has(Damage::GarbageAfterGzip), "only a packed file has something after GZIP");
            return plain;
        }
        let mut packed = pack(&plain);
        if self.has(Damage::GarbageAfterGzip) {
            packed.extend(b"no member");
        }
        packed
    }

    fn has(&self, damage: Damage) -> bool {
        self.damage.contains(&damage)
    }

    /// The payload of a record, with the damage that is inside the message.
    fn payload(&self, video: usize) -> Vec<u8> {
        let good = match self.level {
            Level::Frame => encode_frames(&self.example(video)),
            Level::Video => encode_video(&self.video_example(video)),
        };
        let missing = self.damage.iter().filter_map(|damage| match damage {
            Damage::Missing(of, feature) if *of == video => Some(*feature),
            _ => None,
        });
        let missing: Vec<&str> = missing.collect();
        let id = self.has(Damage::IdNotUtf8(video)).then(|| vec![0xff, 0xfe]);
        if missing.is_empty() && id.is_none() {
            return good;
        }
        match self.level {
            Level::Frame => {
                let mut message = SequenceExample::decode(&good[..]).unwrap();
                let lists = &mut message.feature_lists.as_mut().unwrap().feature_list;
                change(message.context.as_mut().unwrap(), id, &missing, |name| lists.remove(name).is_some());
                message.encode_to_vec()
            }
            Level::Video => {
                let mut message = protobuf::Example::decode(&good[..]).unwrap();
                change(message.features.as_mut().unwrap(), id, &missing, |_| false);
                message.encode_to_vec()
            }
        }
    }
}

/// Sets the id, if there is one to set, and takes features away: those that `features` lacks with `elsewhere`.
fn change(
    features: &mut Features,
    id: Option<Vec<u8>>,
    missing: &[&str],
    mut elsewhere: impl FnMut(&str) -> bool,
) {
    if let Some(id) = id {
        let kind = Some(Kind::BytesList(BytesList { value: vec![id] }));
        features.feature.insert("id".to_owned(), Feature { kind });
    }
    for name in missing {
        let removed = features.feature.remove(*name).is_some() || elsewhere(name);
        assert!(removed, "such a record has no feature {name}");
    }
}

/// These bytes packed by GZIP.
pub(crate) fn pack(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, plain).unwrap();
    encoder.finish().unwrap()
}

/// These bytes as a frame of Zstandard.
pub(crate) fn pack_zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).unwrap()
}

fn nowhere() -> Origin {
    Origin { file: Arc::from(Path::new("")), record: 0, byte: 0 }
}
