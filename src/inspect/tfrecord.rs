//! What a TFRecord file of videos holds.
//!
//! Law: every record is decoded with the sizes of the first good one, by the decoder that training uses.

use std::path::Path;

use framewise_pipeline::{ErrorKind, Failure};
use framewise_stages::payload::Record;
use framewise_stages::tfrecord::{
    DecodeOptions, Level, ReadError, ReaderOptions, RecordError, RecordReader, Sizes, decode_frames,
    decode_video, peek_sizes,
};

use super::{Report, read_failure};
use crate::text::{bytes, count, plural};

/// Bad records that are listed without `--verify`.
const SHOWN: usize = 5;

/// What is counted over a file.
#[derive(Default)]
struct Survey {
    sizes: Option<Sizes>,
    first: Option<Video>,
    good: u64,
    bytes: u64,
    frames: Spread,
    record_bytes: Spread,
    labels: Spread,
    unlabelled: u64,
    largest_label: Option<u32>,
    bad: Vec<RecordError>,
    /// Records that are bad but too many to keep.
    more_bad: u64,
}

/// What a record says.
struct Video {
    id: String,
    labels: Vec<u32>,
    /// 0 at video level.
    frames: usize,
}

/// Smallest, largest and sum of some numbers.
#[derive(Default)]
struct Spread {
    count: u64,
    range: Option<(u64, u64)>,
    sum: u64,
}

/// At most this many bad records are kept for listing.
const KEPT: usize = 10_000;

/// Reads the whole file; `verify` checks the CRC of each record's data too and lists every bad one.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn describe(path: &Path, verify: bool) -> anyhow::Result<Report> {
    let options = ReaderOptions { verify_data_crc: verify, ..ReaderOptions::default() };
    let mut reader = RecordReader::open(path, options).map_err(failure)?;
    let mut survey = Survey::default();
    while let Some(next) = reader.next() {
        match next {
            Ok(record) => survey.add(&record),
            Err(ReadError::Bad(error)) => survey.reject(error),
            Err(error) => return Err(failure(error).into()),
        }
    }
    let end = reader.origin();
    Ok(survey.report(end.record, end.byte, verify))
}

fn failure(error: ReadError) -> Failure {
    match error {
        ReadError::Io { path, source } => read_failure(&path, &source),
        ReadError::Bad(error) => Failure::data(error),
    }
}

impl Survey {
    fn add(&mut self, record: &Record) {
        self.bytes += record.data.len() as u64;
        self.record_bytes.add(record.data.len() as u64);
        if self.sizes.is_none() {
            self.sizes = peek_sizes(&record.data);
        }
        match decode(record, self.sizes) {
            Ok(video) => {
                self.good += 1;
                self.frames.add(video.frames as u64);
                self.labels.add(video.labels.len() as u64);
                self.unlabelled += u64::from(video.labels.is_empty());
                self.largest_label = self.largest_label.max(video.labels.last().copied());
                self.first.get_or_insert(video);
            }
            Err(error) => self.reject(error),
        }
    }

    fn reject(&mut self, error: RecordError) {
        if self.bad.len() < KEPT { self.bad.push(error) } else { self.more_bad += 1 }
    }

    fn report(self, records: u64, end: u64, verify: bool) -> Report {
        let frame_level = self.sizes.is_none_or(|sizes| sizes.level == Level::Frame);
        let mut report = Report::new(match self.sizes {
            Some(_) if frame_level => "TFRecord of videos, frame level",
            Some(_) => "TFRecord of videos, video level",
            None => "TFRecord",
        });
        report.fact("records", format!("{} ({})", count(records), bytes(end)));
        if let Some(sizes) = self.sizes {
            let unit = if frame_level { "bytes a frame" } else { "floats" };
            report
                .fact("rgb, audio", format!("{}, {} {unit}", count(sizes.rgb_size as u64), sizes.audio_size));
        }
        if let Some(first) = &self.first {
            report.fact("first record", first.text(frame_level));
        }
        if self.good > 0 {
            if frame_level {
                report.fact("frames", format!("{}, {} in all", self.frames.text(), count(self.frames.sum)));
            }
            report.fact("labels", self.label_text());
            report.fact("record size", format!("{} bytes", self.record_bytes.text()));
        }
        let bad = self.bad.len() as u64 + self.more_bad;
        match (bad, verify) {
            (0, true) => report.fact("verified", "every CRC, every record decoded"),
            (0, false) => {}
            _ => report.fact("bad records", count(bad)),
        }
        let shown = if verify { KEPT } else { SHOWN };
        for error in self.bad.iter().take(shown) {
            report.details += &format!("  {}: {error}\n", error.reason);
        }
        if bad > shown as u64 {
            let hint = if verify { "" } else { "; --verify lists them" };
            report.details += &format!("  … and {} more{hint}\n", count(bad - shown as u64));
        }
        if bad > 0 {
            report.bad = ErrorKind::Data.exit_code();
        }
        report
    }

    fn label_text(&self) -> String {
        let mut text = format!("{} a video", self.labels.text());
        if let Some(largest) = self.largest_label {
            text += &format!(", largest {}", count(largest.into()));
        }
        if self.unlabelled > 0 {
            text += &format!(", {} without any", plural(self.unlabelled, "video"));
        }
        text
    }
}

impl Video {
    fn text(&self, frame_level: bool) -> String {
        let labels: Vec<_> = self.labels.iter().map(u32::to_string).collect();
        let frames =
            if frame_level { format!(", {}", plural(self.frames as u64, "frame")) } else { String::new() };
        format!("id {:?}, labels [{}]{frames}", self.id, labels.join(", "))
    }
}

fn decode(record: &Record, sizes: Option<Sizes>) -> Result<Video, RecordError> {
    let mut options = DecodeOptions { max_frames: usize::MAX, classes: None, ..DecodeOptions::default() };
    if let Some(sizes) = sizes {
        options.rgb_size = sizes.rgb_size;
        options.audio_size = sizes.audio_size;
    }
    if sizes.is_some_and(|sizes| sizes.level == Level::Video) {
        let video = decode_video(record, &options)?;
        return Ok(Video { id: video.id, labels: video.labels, frames: 0 });
    }
    let video = decode_frames(record, &options)?;
    Ok(Video { id: video.id, labels: video.labels, frames: video.frames })
}

impl Spread {
    fn add(&mut self, n: u64) {
        let (min, max) = self.range.unwrap_or((n, n));
        self.range = Some((min.min(n), max.max(n)));
        self.sum += n;
        self.count += 1;
    }

    /// `120 to 300, mean 213.4`, or one number where all are equal.
    fn text(&self) -> String {
        match self.range {
            Some((min, max)) if min < max => {
                format!("{} to {}, mean {:.1}", count(min), count(max), self.sum as f64 / self.count as f64)
            }
            Some((min, _)) => count(min),
            None => "–".to_owned(),
        }
    }
}
