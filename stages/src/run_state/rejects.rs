//! The treatment of bad records. Either the run stops, or the record is counted, logged and written down.
//!
//! Laws: no record disappears silently. Each rejected record is one line of the run's `rejected.jsonl`, however many
//! epochs meet it and however often the run is resumed. It is counted under its reason each time that it is met.
//! `max_rejected` bounds the number of those lines for each stage.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use framewise_pipeline::stage::context::Level;
use framewise_pipeline::{Failure, KeyWord, Keys, StageContext};
use serde_json::{Value, json};

use crate::failure::{read_failure, write_failure};
use crate::io::{self, Appended};
use crate::payload::Origin;
use crate::run_state::ledger::{Key, Known, Ledger};
use crate::run_state::resume::{Resume, Start};
use crate::tfrecord::{Reason, RecordError};
use crate::words::plural;

/// The file in the run directory that names the rejected records.
pub(crate) const REJECTED: &str = "rejected.jsonl";

/// The number of rejected records that are also shown as warnings. The rest are only counted and written down.
const SHOWN: u64 = 10;

/// A stage's treatment of bad records.
pub(crate) struct Rejects {
    skip: bool,
    max_rejected: u64,
    context: StageContext,
    log: Option<Arc<RejectLog>>,
    ledger: Arc<Ledger>,
    start: Start,
    /// The records that this stage rejected before the run began.
    known: Known,
    /// The number of different records that this stage has rejected, also before the run began.
    distinct: u64,
}

/// The file `rejected.jsonl` of a run, which all of its stages share. It is made with the first line.
#[derive(Default)]
struct RejectLog {
    file: Mutex<Option<Appended>>,
    /// A lock that is held while the lines of an interrupted run are looked through, which happens once.
    restored: Mutex<bool>,
}

/// The keys of every stage that can meet bad records.
#[derive(Keys)]
pub(crate) struct RejectKeys {
    /// What a bad record does: `fail` stops the run with exit code 65, `skip` counts it, writes it to the run's
    /// rejected.jsonl and goes on.
    #[key(default = OnError::Fail, free)]
    on_error: OnError,
    /// With on_error = "skip": how many different records this stage may reject; one more fails the run. A record that
    /// every epoch meets counts once.
    #[key(default = i64::MAX as u64, unit = "records", free)]
    max_rejected: u64,
}

/// What a bad record does.
#[derive(Clone, Copy, PartialEq, Eq, KeyWord)]
enum OnError {
    Fail,
    Skip,
}

impl RejectKeys {
    /// Whether a bad record is passed over.
    pub(crate) fn skips(&self) -> bool {
        self.on_error == OnError::Skip
    }
}

impl Rejects {
    /// The policy that the keys name.
    ///
    /// # Errors
    /// The errors of [`Resume::cursor`].
    pub(crate) fn new(keys: &RejectKeys, context: &StageContext) -> Result<Self, Failure> {
        let log = context.run_dir.is_some().then(|| context.resources.get_or_insert_with(RejectLog::default));
        Ok(Self {
            skip: keys.skips(),
            max_rejected: keys.max_rejected,
            context: context.clone(),
            log,
            ledger: Ledger::of(context)?,
            start: Start::of(context)?,
            known: Known::new(),
            distinct: 0,
        })
    }

    /// Takes up what a checkpoint says. This is called once, before the stage's first item.
    ///
    /// # Errors
    /// `Config` if the checkpoint does not fit the graph. `Data` if it has more rejected records than `max_rejected`. A
    /// failure to write `rejected.jsonl`.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        if self.context.resources.get::<Resume>().is_none() {
            return Ok(());
        }
        self.known = self.ledger.known(&self.context.stage)?;
        self.distinct = self.known.values().map(|records| records.len() as u64).sum();
        if self.distinct > self.max_rejected {
            return Err(Failure::data(format!(
                "{} rejected before the checkpoint, max_rejected = {}",
                plural(self.distinct, "record"),
                self.max_rejected
            )));
        }
        for (reason, times) in self.ledger.rejected_before(&self.context.stage, self.start.epoch)? {
            for _ in 0..times {
                self.context.meter.reject(reason.as_str());
            }
        }
        if let (Some(log), Some(dir)) = (&self.log, &self.context.run_dir) {
            log.restore(&dir.join(REJECTED), &self.ledger)?;
        }
        Ok(())
    }

    /// The reason why this stage rejected the record before the run began, if it did.
    pub(crate) fn known(&self, origin: &Origin) -> Option<Reason> {
        self.known.get(&*origin.file)?.get(&origin.record).copied()
    }

    /// Counts a record that is known to be bad since before the run began, as the interrupted run did.
    pub(crate) fn reject_again(&self, reason: Reason) {
        self.context.meter.reject(reason.as_str());
    }

    /// Handles the bad record at `position` of `epoch`. Returns `Ok` when it was skipped.
    ///
    /// # Errors
    /// The record's own error, under `fail` or past `max_rejected`. A failure to write `rejected.jsonl`.
    pub(crate) fn reject(&mut self, error: RecordError, epoch: u64, position: u64) -> Result<(), Failure> {
        if !self.skip {
            return Err(Failure::data(error));
        }
        self.context.meter.reject(error.reason.as_str());
        if !self.ledger.reject(&self.context.stage, &error, epoch, position) {
            self.context.message(Level::Debug, format!("rejected again: {error}"));
            return Ok(());
        }
        self.distinct += 1;
        if let (Some(log), Some(dir)) = (&self.log, &self.context.run_dir) {
            let path = dir.join(REJECTED);
            log.write(&path, &self.context.stage, &error).map_err(|e| write_failure(&path, &e))?;
        }
        let (count, limit) = (self.distinct, self.max_rejected);
        if count > limit {
            return Err(Failure::data(format!(
                "{} rejected, max_rejected = {limit}; the last: {error}",
                plural(count, "record")
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
    /// Keeps one line for each record that the checkpoint knows. The other records will be met again.
    fn restore(&self, path: &Path, ledger: &Ledger) -> Result<(), Failure> {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *restored, true) {
            return Ok(());
        }
        let old = match io::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(read_failure(path, &error)),
        };
        let stored = ledger.stored()?;
        let (mut new, mut there) = (String::new(), BTreeSet::new());
        for line in old.lines() {
            // A line that a crash cut short is left out.
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
        if new == old { Ok(()) } else { Ok(io::write_file(path, new.as_bytes())?) }
    }

    fn write(&self, path: &Path, stage: &str, error: &RecordError) -> std::io::Result<()> {
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
            *file = Some(io::append(path)?);
        }
        let file = file.as_mut().expect("opened above");
        // Each line is one write, so that lines of different stages never mix.
        file.write_all(format!("{line}\n").as_bytes())
    }
}

/// The record that a line of `rejected.jsonl` is about.
fn key_of(line: &Value) -> Option<Key> {
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    Some((text("stage")?, PathBuf::from(text("file")?), line["record"].as_u64()?))
}
