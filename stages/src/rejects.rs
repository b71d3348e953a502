//! What happens to bad records: the run stops, or the record is counted, logged and written down.
//!
//! Law: no record disappears silently; each rejected one is one line of the run's `rejected.jsonl`, however many epochs
//! meet it and however often the run goes on from a checkpoint, and a count under its reason each time.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use framewise_pipeline::context::Level;
use framewise_pipeline::{ErrorKind, Failure, KeyKind, KeySpec, Settings, StageContext};
use serde_json::{Value, json};

use crate::ledger::{Key, Known, Ledger};
use crate::payload::Origin;
use crate::resume::{Resume, Start};
use crate::store;
use crate::tfrecord::{Reason, RecordError};

/// How many rejected records are also shown as warnings; the rest are only counted and written down.
const SHOWN: u64 = 10;

/// A stage's treatment of bad records.
pub(crate) struct Rejects {
    skip: bool,
    max_rejected: u64,
    context: StageContext,
    log: Option<Arc<RejectLog>>,
    ledger: Arc<Ledger>,
    start: Start,
    /// What this stage rejected before the run began.
    known: Known,
}

/// `rejected.jsonl` of a run, shared by all its stages and made with the first line.
#[derive(Default)]
struct RejectLog {
    file: Mutex<Option<File>>,
    /// Locked while the lines of an interrupted run are looked through, once.
    restored: Mutex<bool>,
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
    ///
    /// # Errors
    /// As [`Resume::cursor`].
    pub(crate) fn new(settings: &Settings, context: &StageContext) -> Result<Self, Failure> {
        let log = context.run_dir.is_some().then(|| context.resources.get_or_insert_with(RejectLog::default));
        Ok(Self {
            skip: settings.text("on_error") == "skip",
            max_rejected: settings.integer("max_rejected"),
            context: context.clone(),
            log,
            ledger: Ledger::of(context)?,
            start: Start::of(context)?,
            known: Known::new(),
        })
    }

    /// Takes up what a checkpoint says; called once, before the stage's first item.
    ///
    /// # Errors
    /// `Config` if the checkpoint does not fit the graph; a failure to write `rejected.jsonl`.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        if self.context.resources.get::<Resume>().is_none() {
            return Ok(());
        }
        self.known = self.ledger.known(&self.context.stage)?;
        for (reason, times) in self.ledger.rejected_before(&self.context.stage, self.start.epoch)? {
            for _ in 0..times {
                self.context.meter.reject(reason.as_str());
            }
        }
        if let (Some(log), Some(dir)) = (&self.log, &self.context.run_dir) {
            log.restore(&dir.join("rejected.jsonl"), &self.ledger)?;
        }
        Ok(())
    }

    /// Why this stage rejected the record before the run began, if it did.
    pub(crate) fn known(&self, origin: &Origin) -> Option<Reason> {
        self.known.get(&*origin.file)?.get(&origin.record).copied()
    }

    /// Deals with a record that is known to be bad as the interrupted run did.
    ///
    /// # Errors
    /// Past `max_rejected`.
    pub(crate) fn reject_again(&self, origin: &Origin, reason: Reason) -> Result<(), Failure> {
        let count = self.context.meter.reject(reason.as_str());
        self.check_count(count, &format_args!("{origin}: {reason}"))
    }

    /// Deals with a bad record, the one at `position` of `epoch`: `Ok` when it was skipped.
    ///
    /// # Errors
    /// The record's own error under `fail` or past `max_rejected`; a failure to write `rejected.jsonl`.
    pub(crate) fn reject(&self, error: RecordError, epoch: u64, position: u64) -> Result<(), Failure> {
        if !self.skip {
            return Err(Failure::data(error));
        }
        let count = self.context.meter.reject(error.reason.as_str());
        let first = self.ledger.reject(&self.context.stage, &error, epoch, position);
        if let (true, Some(log), Some(dir)) = (first, &self.log, &self.context.run_dir) {
            let path = dir.join("rejected.jsonl");
            log.write(&path, &self.context.stage, &error).map_err(|e| write_failure(&path, &e))?;
        }
        self.check_count(count, &error)?;
        let level = if count <= SHOWN { Level::Warning } else { Level::Debug };
        self.context.message(level, format!("rejected {error}"));
        if count == SHOWN {
            self.context
                .message(Level::Warning, "further rejected records are only counted and written down");
        }
        Ok(())
    }

    fn check_count(&self, count: u64, last: &dyn std::fmt::Display) -> Result<(), Failure> {
        let limit = self.max_rejected;
        if count <= limit {
            return Ok(());
        }
        Err(Failure::data(format!("{count} records rejected, max_rejected = {limit}; the last: {last}")))
    }
}

impl RejectLog {
    /// Leaves the lines of those records that the checkpoint knows of, each once: the others will be met again.
    fn restore(&self, path: &Path, ledger: &Ledger) -> Result<(), Failure> {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *restored, true) {
            return Ok(());
        }
        let old = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(read_failure(path, &error)),
        };
        let stored = ledger.stored()?;
        let (mut new, mut there) = (String::new(), BTreeSet::new());
        for line in old.lines() {
            // A line that a crash cut short is none.
            let key = serde_json::from_str(line).ok().as_ref().and_then(key_of);
            if let Some(key) = key.filter(|key| stored.contains_key(key))
                && there.insert(key)
            {
                new.push_str(line);
                new.push('\n');
            }
        }
        for ((stage, file, record), reason) in stored.iter().filter(|(key, _)| !there.contains(*key)) {
            let line = json!({
                "stage": stage,
                "file": file.display().to_string(),
                "record": record,
                "byte": null,
                "id": null,
                "reason": reason.as_str(),
                "detail": "known from the checkpoint",
            });
            new.push_str(&format!("{line}\n"));
        }
        if new == old {
            Ok(())
        } else {
            store::write_file(path, new.as_bytes()).map_err(Failure::cannot_write)
        }
    }

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

/// Which record a line of `rejected.jsonl` is about.
fn key_of(line: &Value) -> Option<Key> {
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    Some((text("stage")?, PathBuf::from(text("file")?), line["record"].as_u64()?))
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
