//! The counts of a file of records, as JSON and in a line.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::text::{count, plural};

/// The counts of a file of records, in the form in which programs get them.
#[derive(Serialize)]
pub(super) struct Records {
    /// The compression, `gzip`, `zlib` or `zstd`. Null if the file is not compressed.
    pub(super) packing: Option<&'static str>,
    /// The level, `frame` or `video`. Null if no record tells it.
    pub(super) level: Option<&'static str>,
    /// The bytes of a frame, or the floats of a video.
    pub(super) rgb_size: Option<usize>,
    pub(super) audio_size: Option<usize>,
    /// The number of records, bad ones included. What follows a record that ends its file is not known.
    pub(super) records: u64,
    pub(super) good: u64,
    pub(super) bad: u64,
    /// The decompressed bytes up to the end, or up to the record that ended the file.
    pub(super) bytes: u64,
    /// The frames of the good records.
    pub(super) frames: u64,
    pub(super) unlabelled: u64,
    pub(super) largest_label: Option<u32>,
    /// The frames of the longest good record. Null at video level.
    pub(super) longest_video: Option<u64>,
    /// The number of different labels.
    pub(super) classes_seen: usize,
    #[serde(skip)]
    pub(super) labels_seen: BTreeSet<u32>,
    pub(super) bad_by_reason: BTreeMap<&'static str, u64>,
    /// The bad records in their order, at most the first 100,000 of a file.
    pub(super) bad_records: Vec<BadRecord>,
}

/// A bad record: where it lies and what is wrong with it. The fields are those of `rejected.jsonl`.
#[derive(Serialize)]
pub(super) struct BadRecord {
    pub(super) record: u64,
    pub(super) byte: u64,
    pub(super) id: Option<String>,
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

impl Records {
    /// The line for a file among many files.
    pub(super) fn brief(&self) -> String {
        let records = plural(self.records, "record");
        match self.bad {
            0 => format!("{records}, all good"),
            bad => format!("{records}, {} bad ({})", count(bad), reasons(&self.bad_by_reason)),
        }
    }

    /// The level and the sizes, if the file has any.
    pub(super) fn sizes_text(&self) -> Option<String> {
        let (rgb, audio) = self.rgb_size.zip(self.audio_size)?;
        Some(format!("{} level, rgb {rgb}, audio {audio}", self.level?))
    }
}

/// The counts of bad records by reason, such as `data_crc 2, truncated 1`.
pub(super) fn reasons(by_reason: &BTreeMap<&'static str, u64>) -> String {
    let texts: Vec<_> = by_reason.iter().map(|(reason, n)| format!("{reason} {}", count(*n))).collect();
    texts.join(", ")
}
