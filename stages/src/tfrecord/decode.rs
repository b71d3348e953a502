//! From the payload of a record to a video.
//!
//! Law: an [`Example`] that comes out is whole and consistent. Its id is text, every frame has the configured size,
//! both modalities have equally many frames, and every label is a class. Anything else is a [`RecordError`].
//!
//! The message is walked once, and no frame is copied: a video's rows lie in its record.

use bytes::Bytes;

use super::{
    Reason, RecordError,
    contents::{contents, is_event},
    encode::frame_prefix,
    features::{ByteStrings, DEFAULT_ID_KEYS, Floats, Kind, Labels, each_entry, each_value, peek_id},
    wire::{Fields, WireError},
};
use crate::payload::{Example, Record, Rows, VideoExample};
use crate::yt8m;

/// The options of decoding, which say what a valid record looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// The number of visual features: the bytes of a frame at frame level, and floats at video level. Default 1024.
    pub rgb_size: usize,
    /// The number of audio features, counted in the same way. Default 128.
    pub audio_size: usize,
    /// The number of frames that are kept of a video, at least 1. The first frames are kept. Default 300.
    pub max_frames: usize,
    /// The number of classes. Labels must be below it. With `None`, any `u32` is a label. Default 3862.
    pub classes: Option<usize>,
    /// The context keys that may hold the id, in order of preference. Default `id`, `video_id`.
    pub id_keys: Vec<String>,
}

impl Default for DecodeOptions {
    /// The sizes of YouTube-8M 2018.
    fn default() -> Self {
        Self {
            rgb_size: yt8m::RGB_SIZE,
            audio_size: yt8m::AUDIO_SIZE,
            max_frames: yt8m::MAX_FRAMES,
            classes: Some(yt8m::CLASSES),
            id_keys: DEFAULT_ID_KEYS.map(str::to_owned).to_vec(),
        }
    }
}

/// Decodes a frame-level record, a `tf.train.SequenceExample`.
///
/// The context has `id`, one byte string of UTF-8, and `labels`, integers that may be absent. The feature lists `rgb`
/// and `audio` have one byte string for each frame. Frames past `max_frames` are checked, counted and left out. Memory
/// stays within a small multiple of the payload.
///
/// # Errors
/// A reason of the content, `bad_proto` to `id_not_utf8`. Such a reason never ends the file.
pub fn decode_frames(record: &Record, options: &DecodeOptions) -> Result<Example, RecordError> {
    Ok(decode_counted_frames(record, options)?.0)
}

/// Decodes a frame-level record as [`decode_frames`] does. The number beside the video is the number of frames of the
/// record, including frames past `max_frames`.
///
/// # Errors
/// The errors of [`decode_frames`].
pub fn decode_counted_frames(
    record: &Record,
    options: &DecodeOptions,
) -> Result<(Example, usize), RecordError> {
    read_frames(record, options).map_err(|flaw| flaw.of(record, options))
}

/// Decodes a video-level record, a `tf.train.Example`.
///
/// `id` and `labels` are as at frame level. `mean_rgb` has `rgb_size` finite floats, and `mean_audio` has `audio_size`.
///
/// # Errors
/// The errors of [`decode_frames`].
pub fn decode_video(record: &Record, options: &DecodeOptions) -> Result<VideoExample, RecordError> {
    read_video(record, options).map_err(|flaw| flaw.of(record, options))
}

/// An error of a record that is not named yet.
struct Flaw {
    reason: Reason,
    detail: String,
}

impl Flaw {
    fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    fn of(self, record: &Record, options: &DecodeOptions) -> RecordError {
        let detail = match self.reason {
            Reason::BadProto if is_event(&record.data) => {
                "the payload is an Event of TensorBoard, so this is an event file and not one of videos"
                    .to_owned()
            }
            // A feature that is there with the wrong content was already reported with its name.
            Reason::MissingFeature | Reason::IdMissing => {
                format!("{}; {}", self.detail, contents(&record.data))
            }
            _ => self.detail,
        };
        RecordError {
            origin: record.origin.clone(),
            id: peek_id(&record.data, &options.id_keys),
            reason: self.reason,
            detail,
        }
    }
}

impl From<WireError> for Flaw {
    fn from(error: WireError) -> Self {
        Self::new(Reason::BadProto, format!("the payload is not the protobuf message expected: {error}"))
    }
}

/// The map entries that matter. They are found in one walk and decoded after it. The last entry of each key counts.
#[derive(Default)]
struct Entries<'a> {
    id: Option<(usize, &'a [u8])>,
    labels: Option<&'a [u8]>,
    mean_rgb: Option<&'a [u8]>,
    mean_audio: Option<&'a [u8]>,
    rgb: Option<&'a [u8]>,
    audio: Option<&'a [u8]>,
    has_lists: bool,
}

impl<'a> Entries<'a> {
    /// Walks a message. `SequenceExample` and `Example` agree on field 1, and only the former has a field 2.
    fn find(data: &'a [u8], id_keys: &[String]) -> Result<Self, WireError> {
        let mut entries = Self::default();
        let mut fields = Fields::of(data);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => each_entry(value.bytes()?, |key, entry| entries.context(key, entry, id_keys))?,
                2 => {
                    entries.has_lists = true;
                    each_entry(value.bytes()?, |key, entry| match key {
                        b"rgb" => entries.rgb = Some(entry),
                        b"audio" => entries.audio = Some(entry),
                        _ => {}
                    })?;
                }
                _ => {}
            }
        }
        Ok(entries)
    }

    fn context(&mut self, key: &[u8], entry: &'a [u8], id_keys: &[String]) {
        match key {
            b"labels" => self.labels = Some(entry),
            b"mean_rgb" => self.mean_rgb = Some(entry),
            b"mean_audio" => self.mean_audio = Some(entry),
            _ => {
                let rank = id_keys.iter().position(|id| id.as_bytes() == key);
                if let Some(rank) = rank
                    && self.id.is_none_or(|(best, _)| rank <= best)
                {
                    self.id = Some((rank, entry));
                }
            }
        }
    }

    fn read_id(&self, id_keys: &[String]) -> Result<String, Flaw> {
        let missing = |detail: String| Flaw::new(Reason::IdMissing, detail);
        let (rank, entry) =
            self.id.ok_or_else(|| missing(format!("no feature {:?} that names the video", id_keys)))?;
        let mut strings = ByteStrings::default();
        each_value(entry, |feature| strings.merge(feature))?;
        let key = &id_keys[rank];
        if strings.kind != Kind::Bytes {
            return Err(missing(format!("feature {key:?} holds {}, expected bytes", strings.kind.name())));
        }
        if strings.count != 1 {
            return Err(missing(format!("feature {key:?} holds {} values, expected 1", strings.count)));
        }
        match std::str::from_utf8(strings.last) {
            Ok("") => Err(missing(format!("feature {key:?} is empty"))),
            Ok(id) => Ok(id.to_owned()),
            Err(_) => Err(Flaw::new(
                Reason::IdNotUtf8,
                format!(
                    "feature {key:?} is not UTF-8: its bytes are \"{}\"",
                    strings.last[..strings.last.len().min(64)].escape_ascii()
                ),
            )),
        }
    }

    fn read_labels(&self, classes: Option<usize>) -> Result<Vec<u32>, Flaw> {
        let Some(entry) = self.labels else { return Ok(Vec::new()) };
        let mut labels = Labels::below(classes);
        each_value(entry, |feature| labels.merge(feature))?;
        if !matches!(labels.kind, Kind::Integers | Kind::Unset) {
            let detail = format!("feature \"labels\" holds {}, expected integers", labels.kind.name());
            return Err(Flaw::new(Reason::MissingFeature, detail));
        }
        match (labels.out_of_range, classes) {
            (None, _) => Ok(labels.finish()),
            (Some(label @ ..0), _) => Err(Flaw::new(
                Reason::LabelOutOfRange,
                format!("label {label} is negative; the first class is 0"),
            )),
            (Some(label), Some(classes)) => Err(Flaw::new(
                Reason::LabelOutOfRange,
                format!(
                    "label {label} is outside the range 0 to {} that `classes = {classes}` allows; if the data have \
                     more classes, raise the key `classes`",
                    classes.saturating_sub(1)
                ),
            )),
            (Some(label), None) => {
                Err(Flaw::new(Reason::LabelOutOfRange, format!("label {label} does not fit 32 bits")))
            }
        }
    }
}

fn read_frames(record: &Record, options: &DecodeOptions) -> Result<(Example, usize), Flaw> {
    let entries = Entries::find(&record.data, &options.id_keys)?;
    let id = entries.read_id(&options.id_keys)?;
    let missing = |name: &str| {
        let hint = if entries.has_lists || entries.mean_rgb.is_none() {
            ""
        } else {
            ": this is a video-level record, which the stage type `yt8m_video_decode` decodes in place of `yt8m_decode`"
        };
        Flaw::new(Reason::MissingFeature, format!("no feature list \"{name}\"{hint}"))
    };
    let rgb = entries.rgb.ok_or_else(|| missing("rgb"))?;
    let audio = entries.audio.ok_or_else(|| missing("audio"))?;
    let list = |entry, name, size| read_list(&record.data, entry, name, size, options.max_frames);
    let (rgb_frames, rgb) = list(rgb, "rgb", options.rgb_size)?;
    let (audio_frames, audio) = list(audio, "audio", options.audio_size)?;
    if rgb_frames != audio_frames {
        let detail = format!("rgb has {rgb_frames} frames, audio {audio_frames}");
        return Err(Flaw::new(Reason::FrameCountMismatch, detail));
    }
    let frames = rgb_frames.min(options.max_frames);
    if frames == 0 {
        return Err(Flaw::new(Reason::NoFrames, "0 frames"));
    }
    let labels = entries.read_labels(options.classes)?;
    Ok((Example { id, labels, frames, rgb, audio, origin: record.origin.clone() }, rgb_frames))
}

/// The number of frames of a feature list, whose `entry` lies in `record`, and the first `max_frames` of them.
fn read_list(
    record: &Bytes,
    entry: &[u8],
    name: &str,
    size: usize,
    max_frames: usize,
) -> Result<(usize, Rows), Flaw> {
    // Each frame that is there has three tags and three lengths of a byte or more, so the entry bounds the list.
    let most = (entry.len() / size.saturating_add(6)).min(max_frames);
    let mut starts = Vec::with_capacity(most);
    let place = |frame: &[u8]| frame.as_ptr() as usize - record.as_ptr() as usize;
    let mut count = 0;
    let prefix = frame_prefix(size);
    each_value(entry, |list| {
        let mut fields = Fields::of(list);
        loop {
            // A frame that is written in the usual way needs no walk through three messages. This halves the time of
            // decoding.
            while let Some(frame) = fields.take_prefixed(&prefix, size) {
                if count < max_frames {
                    starts.push(place(frame));
                }
                count += 1;
            }
            let Some((number, value)) = fields.next()? else { return Ok(()) };
            if number != 1 {
                continue;
            }
            let mut frame = ByteStrings::default();
            frame.merge(value.bytes()?)?;
            if frame.count != 1 || frame.last.len() != size {
                let found = match (frame.kind, frame.count) {
                    (Kind::Bytes, 1) => format!("{} bytes", frame.last.len()),
                    (Kind::Bytes, count) => format!("{count} byte strings"),
                    (kind, _) => kind.name().to_owned(),
                };
                let detail = format!("{name} frame {count}: {found}, expected {size} bytes");
                return Err(Flaw::new(Reason::FrameSize, detail));
            }
            if count < max_frames {
                starts.push(place(frame.last));
            }
            count += 1;
        }
    })?;
    let rows = Rows::within(record, size, starts);
    // Most frames of the list may have been left out. Then their memory is let go of with the record.
    let few = count / 2 > max_frames;
    Ok((count, if few { rows.to_packed() } else { rows }))
}

fn read_video(record: &Record, options: &DecodeOptions) -> Result<VideoExample, Flaw> {
    let entries = Entries::find(&record.data, &options.id_keys)?;
    let id = entries.read_id(&options.id_keys)?;
    let missing = |name: &str| {
        let hint = if entries.has_lists {
            ": this is a frame-level record, which the stage type `yt8m_decode` decodes in place of `yt8m_video_decode`"
        } else {
            ""
        };
        Flaw::new(Reason::MissingFeature, format!("no feature \"{name}\"{hint}"))
    };
    let mean_rgb =
        read_mean(entries.mean_rgb.ok_or_else(|| missing("mean_rgb"))?, "mean_rgb", options.rgb_size)?;
    let mean_audio = read_mean(
        entries.mean_audio.ok_or_else(|| missing("mean_audio"))?,
        "mean_audio",
        options.audio_size,
    )?;
    let labels = entries.read_labels(options.classes)?;
    Ok(VideoExample { id, labels, mean_rgb, mean_audio, origin: record.origin.clone() })
}

fn read_mean(entry: &[u8], name: &str, size: usize) -> Result<Vec<f32>, Flaw> {
    let mut floats = Floats::default();
    each_value(entry, |feature| floats.merge(feature))?;
    if !matches!(floats.kind, Kind::Floats | Kind::Unset) {
        let detail = format!("feature \"{name}\" holds {}, expected floats", floats.kind.name());
        return Err(Flaw::new(Reason::MissingFeature, detail));
    }
    if floats.values.len() != size {
        let detail = format!("{name}: {} floats, expected {size}", floats.values.len());
        return Err(Flaw::new(Reason::FrameSize, detail));
    }
    if let Some(at) = floats.values.iter().position(|value| !value.is_finite()) {
        return Err(Flaw::new(Reason::BadProto, format!("{name}[{at}] is {}", floats.values[at])));
    }
    Ok(floats.values)
}
