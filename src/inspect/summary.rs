//! The summary of all files: sums for people, and one object for programs.
//!
//! Law: the keys of the object, their order and their units are a contract.

use std::collections::BTreeMap;

use framewise_pipeline::ErrorKind;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ids::Ids;
use super::report::Found;
use crate::cli::{Format, InspectArgs};
use crate::exit;
use crate::text::{Align, bytes, count, plural, table};

/// The sums over all files.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) exit_code: u8,
    /// The files below directories that hold no records.
    pub(super) passed_over: Vec<String>,
    files: Vec<Value>,
    totals: Totals,
    ids: Ids,
    /// The number of files of records that have these sizes.
    sizes: BTreeMap<String, u64>,
}

#[derive(Default, Serialize)]
struct Totals {
    /// The number of files, checkpoints and run directories.
    files: u64,
    /// The number of those in which something is wrong.
    bad_files: u64,
    /// The number of records, bad ones included.
    records: u64,
    good: u64,
    bad: u64,
    /// The decompressed bytes of the records and their framing.
    bytes: u64,
    frames: u64,
    /// The numbers of bad records by reason.
    bad_by_reason: BTreeMap<String, u64>,
}

impl Summary {
    /// Adds a file. Files are added in the order in which they are reported.
    pub(super) fn add(&mut self, mut found: Found, args: &InspectArgs) {
        let code = found.exit_code();
        let data = ErrorKind::Data.exit_code();
        if self.exit_code == exit::OK || (args.verify && code == data) {
            self.exit_code = code;
        }
        if let Ok(report) = &mut found.outcome {
            self.ids.add(&found.path, std::mem::take(&mut report.ids));
        }
        let totals = &mut self.totals;
        totals.files += 1;
        totals.bad_files += u64::from(code != exit::OK);
        if let Ok(report) = &found.outcome
            && let Some(records) = &report.records
        {
            totals.records += records.records;
            totals.good += records.good;
            totals.bad += records.bad;
            totals.bytes += records.bytes;
            totals.frames += records.frames;
            for (reason, n) in &records.bad_by_reason {
                *totals.bad_by_reason.entry((*reason).to_owned()).or_default() += n;
            }
            if let Some(sizes) = records.sizes_text() {
                *self.sizes.entry(sizes).or_default() += 1;
            }
        }
        if args.format == Format::Json {
            self.files.push(json_of(&found, code));
        }
    }

    /// The summary for people. It is empty for a single file, whose report says the same.
    pub(super) fn text(&self) -> String {
        let totals = &self.totals;
        let mut out = String::new();
        if totals.files > 1 && totals.records > 0 {
            let bad = match totals.bad {
                0 => "no record is bad".to_owned(),
                bad => format!("{} bad", count(bad)),
            };
            let files = match totals.bad_files {
                0 => "nothing is wrong with any file".to_owned(),
                n => format!("something is wrong with {}", plural(n, "file")),
            };
            out += &format!(
                "\n{}, {} ({}): {bad}, {files}\n",
                plural(totals.files, "file"),
                plural(totals.records, "record"),
                bytes(totals.bytes)
            );
            let rows = totals.bad_by_reason.iter().map(|(reason, n)| vec![format!("  {reason}"), count(*n)]);
            out += &table(&[Align::Left, Align::Right], &rows.collect::<Vec<_>>());
        }
        if self.sizes.len() > 1 {
            out += "not all files have the same sizes; a graph reads one:\n";
            let rows = self.sizes.iter().map(|(sizes, n)| vec![format!("  {sizes}"), plural(*n, "file")]);
            out += &table(&[Align::Left, Align::Right], &rows.collect::<Vec<_>>());
        }
        out += &self.ids.text();
        if !self.passed_over.is_empty() {
            out += &format!("passed over, as no files of records: {}\n", self.passed_over.join(", "));
        }
        out
    }

    /// One JSON object and the end of its line.
    pub(super) fn to_json(&self, verified: bool) -> String {
        let object = json!({
            "verified": verified,
            "exit_code": self.exit_code,
            "totals": self.totals,
            "sizes": self.sizes,
            // Without `--verify`, the ids were not compared.
            "duplicate_ids": verified.then(|| self.ids.to_json()),
            "passed_over": self.passed_over,
            "files": self.files,
        });
        format!("{object:#}\n")
    }
}

fn json_of(found: &Found, code: u8) -> Value {
    let mut object = Map::new();
    object.insert("path".into(), found.path.display().to_string().into());
    object.insert("exit_code".into(), code.into());
    match &found.outcome {
        Ok(report) => {
            // A struct of texts and numbers has a JSON form. The facts are those that people read.
            if let Ok(Value::Object(fields)) = serde_json::to_value(report) {
                object.extend(fields);
            }
            if report.records.is_none() {
                object.insert("facts".into(), Value::Object(report.facts.to_json()));
            }
        }
        Err(failure) => {
            object.insert("error".into(), failure.to_string().into());
        }
    }
    Value::Object(object)
}
