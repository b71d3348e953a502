//! The description of a TFRecord file of videos.
//!
//! Laws: every record is decoded with the sizes of the first good one, by the decoder that training uses. Every bad
//! record is counted under its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use framewise_pipeline::{ErrorKind, Failure};
use framewise_stages::payload::Record;
use framewise_stages::read_failure;
use framewise_stages::tfrecord::{
    DecodeOptions, Level, Packing, ReadError, ReaderOptions, RecordError, RecordReader, Sizes, decode_frames,
    decode_video, is_event, peek_sizes,
};

use super::progress::Advance;
use super::records::{BadRecord, Records, reasons};
use super::report::Report;
use crate::text::{bytes, count, plural};

/// The most bad records that are listed without `--verify`.
const SHOWN: usize = 5;

/// The counts over a file.
#[derive(Default)]
struct Survey {
    verify: bool,
    packing: Option<&'static str>,
    /// Whether the first record is one of TensorBoard.
    is_events: bool,
    /// With `verify`, the index and the id of every good record.
    ids: Vec<(u64, String)>,
    sizes: Option<Sizes>,
    first: Option<Video>,
    good: u64,
    bytes: u64,
    frames: Spread,
    record_bytes: Spread,
    labels: Spread,
    unlabelled: u64,
    labels_seen: BTreeSet<u32>,
    bad: Vec<RecordError>,
    bad_by_reason: BTreeMap<&'static str, u64>,
}

/// The facts from a good record.
struct Video {
    id: String,
    labels: Vec<u32>,
    /// The number of frames; 0 at video level.
    frames: usize,
}

/// The smallest and the largest of some numbers, and their sum.
#[derive(Default)]
struct Spread {
    count: u64,
    range: Option<(u64, u64)>,
    sum: u64,
}

/// The most bad records of a file that are kept for listing. Further ones are only counted.
const KEPT: usize = 100_000;

/// Reads the whole file. With `verify`, the CRC of each record's data is checked too, and every bad record is listed.
///
/// # Errors
/// The file cannot be read.
pub(super) fn describe(path: &Path, verify: bool, mut advance: Advance<'_>) -> Result<Report, Failure> {
    let options = ReaderOptions { verify_data_crc: verify, ..ReaderOptions::default() };
    let mut reader = RecordReader::open(path, options).map_err(failure)?;
    let packing = reader.packing().map(Packing::name);
    let mut survey = Survey { verify, packing, ..Survey::default() };
    let mut passed = 0;
    while let Some(next) = reader.next() {
        let byte = reader.origin().byte;
        advance.by(byte - passed);
        passed = byte;
        match next {
            Ok(record) => survey.add(&record),
            Err(ReadError::Bad(error)) => survey.reject(error),
            Err(error) => return Err(failure(error)),
        }
    }
    Ok(survey.report(reader.origin().byte))
}

fn failure(error: ReadError) -> Failure {
    match error {
        ReadError::Io { path, source } => read_failure(&path, &source),
        ReadError::Bad(error) => Failure::data(error),
    }
}

impl Survey {
    fn add(&mut self, record: &Record) {
        if record.origin.record == 0 {
            self.is_events = is_event(&record.data);
        }
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
                self.labels_seen.extend(&video.labels);
                if self.verify {
                    self.ids.push((record.origin.record, video.id.clone()));
                }
                self.first.get_or_insert(video);
            }
            Err(error) => self.reject(error),
        }
    }

    fn reject(&mut self, error: RecordError) {
        *self.bad_by_reason.entry(error.reason.as_str()).or_default() += 1;
        if self.bad.len() < KEPT {
            self.bad.push(error);
        }
    }

    fn report(mut self, end: u64) -> Report {
        let verify = self.verify;
        let bad: u64 = self.bad_by_reason.values().sum();
        // A record that ends its file counts too, although nobody knows how long it was.
        let records = self.good + bad;
        let frame_level = self.sizes.is_none_or(|sizes| sizes.level == Level::Frame);
        let mut report = Report::new(match self.sizes {
            Some(_) if frame_level => "TFRecord of videos, frame level",
            Some(_) => "TFRecord of videos, video level",
            None if self.is_events => "TensorBoard events (a TFRecord file of Event messages), not videos",
            None => "TFRecord",
        });
        report.ids = std::mem::take(&mut self.ids);
        report.fact("records", format!("{} ({})", count(records), bytes(end)));
        if let Some(packing) = self.packing {
            report.fact("packing", packing);
        }
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
        match (bad, verify) {
            (0, true) => report.fact("verified", "every CRC, every record decoded"),
            (0, false) => {}
            _ => report.fact("bad records", format!("{} ({})", count(bad), reasons(&self.bad_by_reason))),
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
        report.records = Some(self.records(records, bad, end));
        report
    }

    fn records(self, records: u64, bad: u64, bytes: u64) -> Records {
        let level = self.sizes.map(|sizes| if sizes.level == Level::Frame { "frame" } else { "video" });
        let bad_records = self.bad.into_iter().map(|error| BadRecord {
            record: error.origin.record,
            byte: error.origin.byte,
            id: error.id,
            reason: error.reason.as_str(),
            detail: error.detail,
        });
        Records {
            packing: self.packing,
            level,
            rgb_size: self.sizes.map(|sizes| sizes.rgb_size),
            audio_size: self.sizes.map(|sizes| sizes.audio_size),
            records,
            good: self.good,
            bad,
            bytes,
            frames: self.frames.sum,
            unlabelled: self.unlabelled,
            largest_label: self.labels_seen.last().copied(),
            longest_video: self.frames.range.filter(|_| level == Some("frame")).map(|(_, longest)| longest),
            classes_seen: self.labels_seen.len(),
            labels_seen: self.labels_seen,
            bad_by_reason: self.bad_by_reason,
            bad_records: bad_records.collect(),
        }
    }

    fn label_text(&self) -> String {
        let mut text = format!("{} a video", self.labels.text());
        if let Some(largest) = self.labels_seen.last() {
            text += &format!(", largest {largest}, {} different", count(self.labels_seen.len() as u64));
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

    /// The numbers in words, such as `120 to 300, mean 213.4`, or one number where all are equal.
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
