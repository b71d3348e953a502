//! What was found in all files together: sums for people, one object for programs.
//!
//! Law: the keys of the object, their order and their units are a contract.

use std::collections::BTreeMap;

use framewise_pipeline::ErrorKind;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Found, exit};
use crate::cli::{Format, InspectArgs};
use crate::text::{Align, bytes, count, plural, table};

/// Sums over all files.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) exit_code: u8,
    /// Files below directories that hold no records.
    pub(super) passed_over: Vec<String>,
    files: Vec<Value>,
    totals: Totals,
    /// How many files of records have these sizes.
    sizes: BTreeMap<String, u64>,
}

#[derive(Default, Serialize)]
struct Totals {
    /// Files, checkpoints and run directories.
    files: u64,
    /// Those in which something is wrong.
    bad_files: u64,
    /// Records, the bad ones included.
    records: u64,
    good: u64,
    bad: u64,
    /// Of the records and their frames, decompressed.
    bytes: u64,
    frames: u64,
    /// Bad records by reason.
    bad_by_reason: BTreeMap<String, u64>,
}

impl Summary {
    /// Adds a file, in the order in which they are told.
    pub(super) fn add(&mut self, found: Found, args: &InspectArgs) {
        let code = found.exit_code();
        let data = ErrorKind::Data.exit_code();
        if self.exit_code == exit::OK || (args.verify && code == data) {
            self.exit_code = code;
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

    /// For people: nothing for a single file, whose report has said it.
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
            // A struct of texts and numbers has a JSON form; facts are those that people read.
            if let Ok(Value::Object(fields)) = serde_json::to_value(report) {
                object.extend(fields);
            }
            if report.records.is_none() {
                let facts =
                    report.facts.iter().map(|(name, value)| (name.clone(), Value::from(value.clone())));
                object.insert("facts".into(), Value::Object(facts.collect()));
            }
        }
        Err(failure) => {
            object.insert("error".into(), failure.to_string().into());
        }
    }
    Value::Object(object)
}
