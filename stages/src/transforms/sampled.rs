//! What the first records of the files tell about a stage that decodes them, before a run begins: the size of a video, and
//! mistakes that all of its records may share, such as labels outside the classes.

use std::path::Path;

use framewise_pipeline::prelude::*;

use super::decoding::{CHUNK_PER_WORKER, DecodeRecord, Workers};
use crate::io::{Kind, patterns};
use crate::payload::Record;
use crate::tfrecord::{DecodeOptions, ReaderOptions, Reason, RecordError, RecordReader, not_videos};
use crate::words::plural;

/// The number of records that are decoded.
const SAMPLED: usize = 64;
/// The number of files from whose beginnings they come.
const FILES: usize = 8;

/// The estimate of a stage that decodes. `bytes` is the size of the video that a record holds.
pub(super) fn estimate(
    Workers { workers }: &Workers,
    site: &Site<'_>,
    flows: &Flows,
    bytes: impl Fn(&Record) -> Option<usize>,
) -> Estimate {
    let records = flows.of("records");
    let sizes: Vec<u64> = sampled(site).iter().filter_map(|record| Some(bytes(record)? as u64)).collect();
    let bytes = sizes.iter().sum::<u64>().checked_div(sizes.len() as u64);
    let chunk = if *workers == 1 { 1 } else { (workers * CHUNK_PER_WORKER) as u64 };
    let held = records.bytes.zip(bytes).map(|(record, video)| (record + video).saturating_mul(chunk));
    let flow = records.of_bytes(bytes);
    Estimate::default().holds("records and videos of a chunk", held).sends("examples", flow)
}

/// What is wrong with the first records, for the survey of a stage that decodes them with these options. `skips` says
/// whether the stage passes over bad records.
pub(super) fn survey(site: &Site<'_>, decode: DecodeRecord, options: &DecodeOptions, skips: bool) -> Survey {
    let mut survey = Survey::default();
    let records = sampled(site);
    let decoded = records.iter().map(|record| decode(record, options));
    let bad: Vec<RecordError> = decoded.filter_map(Result::err).collect();
    let Some(first) = bad.first() else { return survey };
    let text = match bad.len() {
        1 => first.to_string(),
        count => {
            format!("{count} of the first {} cannot be used: {first}", plural(records.len() as u64, "record"))
        }
    };
    // A key that the stage does not write shows the stage.
    let key = if first.reason == Reason::LabelOutOfRange { "classes" } else { "type" };
    let remark = Remark::failure(key, &Failure::data(text));
    let remark = match enough_classes(&records, decode, options) {
        Some(classes) if key == "classes" => {
            remark.hint(format!("the labels of these records need `classes` of at least {classes}"))
        }
        _ => remark,
    };
    survey.remarks.push(if skips { remark.as_warning() } else { remark });
    survey
}

/// The number of classes that the labels of the records need.
fn enough_classes(records: &[Record], decode: DecodeRecord, options: &DecodeOptions) -> Option<u64> {
    let options = DecodeOptions { classes: None, ..options.clone() };
    let videos = records.iter().filter_map(|record| decode(record, &options).ok());
    videos.filter_map(|(video, _)| video.labels().iter().max().map(|label| u64::from(*label) + 1)).max()
}

/// Up to [`SAMPLED`] records, in equal parts from the beginnings of the first files that the reader before the stage
/// names. Nothing is read of streams. Files that hold no videos are passed over, because the reader tells of them.
fn sampled(site: &Site<'_>) -> Vec<Record> {
    let reader = site.upstream.nearest("tfrecord_reader");
    let files = reader.and_then(|reader| reader.settings.get("files")?.as_array());
    let names: Vec<String> =
        files.into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
    let found = patterns::look_up(&names, Path::new(""));
    let regular = found.files.iter().filter(|file| file.kind == Kind::File);
    let files: Vec<_> =
        regular.take(FILES).filter(|file| matches!(not_videos(&file.path), Ok(None))).collect();
    let of_file = SAMPLED / files.len().max(1);
    let records = files.into_iter().flat_map(|file| {
        let mut reader = RecordReader::open(&file.path, ReaderOptions::default()).ok();
        let next = move || reader.as_mut()?.next()?.ok();
        std::iter::from_fn(next).take(of_file)
    });
    records.collect()
}
