//! What happens to bad records: the run stops, or the record is counted, logged and written down.
//!
//! Law: no record disappears silently; each rejected one is a line of the run's `rejected.jsonl` and a count under
//! its reason.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use framewise_pipeline::context::Level;
use framewise_pipeline::{ErrorKind, Failure, KeyKind, KeySpec, Settings, StageContext};
use serde_json::json;

use crate::tfrecord::RecordError;

/// How many rejected records are also shown as warnings; the rest are only counted and written down.
const SHOWN: u64 = 10;

/// A stage's treatment of bad records.
pub(crate) struct Rejects {
    skip: bool,
    max_rejected: u64,
    context: StageContext,
    log: Option<Arc<RejectLog>>,
}

/// `rejected.jsonl` of a run, shared by all its stages and made with the first line.
#[derive(Default)]
struct RejectLog {
    file: Mutex<Option<File>>,
}

/// The keys of every stage that can meet bad records.
pub(crate) fn reject_keys() -> Vec<KeySpec> {
    vec![
        KeySpec::new(
            "on_error",
            KeyKind::OneOf(&["fail", "skip"]),
            "What a bad record does: `fail` stops the run with exit code 65, `skip` counts it, writes it to the run's \
             rejected.jsonl and goes on.",
        )
        .default("fail")
        .free(),
        KeySpec::new(
            "max_rejected",
            KeyKind::at_least(0),
            "With on_error = \"skip\": how many records this stage may reject; one more fails the run.",
        )
        .default(i64::MAX)
        .unit("records")
        .free(),
    ]
}

impl Rejects {
    /// The policy that the settings name.
    pub(crate) fn new(settings: &Settings, context: &StageContext) -> Self {
        let log = context.run_dir.is_some().then(|| context.resources.get_or_insert_with(RejectLog::default));
        Self {
            skip: settings.text("on_error") == "skip",
            max_rejected: settings.integer("max_rejected"),
            context: context.clone(),
            log,
        }
    }

    /// Deals with a bad record: `Ok` when it was skipped.
    ///
    /// # Errors
    /// The record's own error under `fail` or past `max_rejected`; a failure to write `rejected.jsonl`.
    pub(crate) fn reject(&self, error: RecordError) -> Result<(), Failure> {
        if !self.skip {
            return Err(Failure::data(error));
        }
        let count = self.context.meter.reject(error.reason.as_str());
        if let (Some(log), Some(dir)) = (&self.log, &self.context.run_dir) {
            let path = dir.join("rejected.jsonl");
            log.write(&path, &self.context.stage, &error).map_err(|e| write_failure(&path, &e))?;
        }
        if count > self.max_rejected {
            let limit = self.max_rejected;
            return Err(Failure::data(format!(
                "{count} records rejected, max_rejected = {limit}; the last: {error}"
            )));
        }
        let level = if count <= SHOWN { Level::Warning } else { Level::Debug };
        self.context.message(level, format!("rejected {error}"));
        if count == SHOWN {
            self.context
                .message(Level::Warning, "further rejected records are only counted and written down");
        }
        Ok(())
    }
}

impl RejectLog {
    fn write(&self, path: &Path, stage: &str, error: &RecordError) -> io::Result<()> {
        let line = json!({
            "stage": stage,
            "file": error.origin.file.display().to_string(),
            "record": error.origin.record,
            "byte": error.origin.byte,
            "id": error.id,
            "reason": error.reason.as_str(),
            "detail": error.detail,
        });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_none() {
            *file = Some(OpenOptions::new().create(true).append(true).open(path)?);
        }
        let file = file.as_mut().expect("opened above");
        // One write per line: lines of different stages never mix.
        file.write_all(format!("{line}\n").as_bytes())
    }
}

/// The failure of writing a file of the run.
pub(crate) fn write_failure(path: &Path, error: &io::Error) -> Failure {
    Failure::cannot_write(format!("{}: {error}", path.display()))
}

/// The failure of reading a file: missing ones are told apart.
pub(crate) fn read_failure(path: &Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory => {
            ErrorKind::NotFound
        }
        _ => ErrorKind::Io,
    };
    Failure::new(kind, format!("{}: {error}", PathBuf::from(path).display()))
}
