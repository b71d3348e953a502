//! `metrics.jsonl` and TensorBoard events of a run, shared by the stages that report numbers.
//!
//! Laws: a line is written whole, and values that no number can stand for are `null`. However often a run goes on from a
//! checkpoint, no step is logged twice.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use framewise_pipeline::{Failure, StageContext};
use serde_json::{Map, Value, json};

use crate::rejects::{read_failure, write_failure};
use crate::resume::Resume;
use crate::store::{self, TensorBoardWriter};

/// The run's log of numbers. Made with the first line; a run without a run directory writes nothing.
#[derive(Default)]
pub(crate) struct RunLog {
    files: Mutex<Option<Files>>,
}

struct Files {
    lines_path: PathBuf,
    lines: File,
    events: TensorBoardWriter,
}

/// A number or a whole number in the log.
pub(crate) type Entry<'a> = (&'a str, f64);

impl RunLog {
    /// In a run that goes on from a checkpoint, drops what the log says about steps after it: they come again. Called
    /// by every stage that logs, while it is built; does its work once.
    ///
    /// # Errors
    /// A failure to read or write the log.
    pub(crate) fn go_on(context: &StageContext) -> Result<(), Failure> {
        let (Some(resume), Some(run_dir)) = (context.resources.get::<Resume>(), &context.run_dir) else {
            return Ok(());
        };
        let log = Self::of(context);
        let mut files = log.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.is_some() {
            return Ok(());
        }
        let (step, measured) = (resume.checkpoint.step, !resume.checkpoint.metrics.is_empty());
        drop_later(&run_dir.join("metrics.jsonl"), step, measured)?;
        let files = files.insert(Files::create(run_dir)?);
        files.events.restart(step + 1).map_err(Failure::cannot_write)
    }

    /// The log of this run.
    pub(crate) fn of(context: &StageContext) -> Arc<RunLog> {
        context.resources.get_or_insert_with(RunLog::default)
    }

    /// Writes one line `{"kind": …, "step": …, "epoch": …, NAME: VALUE, …}` and a TensorBoard scalar `KIND/NAME` for
    /// each value.
    ///
    /// # Errors
    /// `CannotWrite` naming the file.
    pub(crate) fn write(
        &self,
        run_dir: Option<&Path>,
        kind: &str,
        step: u64,
        epoch: u64,
        values: &[Entry<'_>],
    ) -> Result<(), Failure> {
        let Some(run_dir) = run_dir else { return Ok(()) };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = match files.as_mut() {
            Some(files) => files,
            None => files.insert(Files::create(run_dir)?),
        };
        let mut line = Map::new();
        line.insert("kind".into(), kind.into());
        line.insert("step".into(), step.into());
        line.insert("epoch".into(), epoch.into());
        // `json!` turns NaN and infinity into null.
        line.extend(values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        let text = format!("{}\n", Value::Object(line));
        files.lines.write_all(text.as_bytes()).map_err(|e| write_failure(&files.lines_path, &e))?;
        for (name, value) in values {
            let tag = format!("{kind}/{name}");
            files.events.scalar(&tag, step, *value).map_err(Failure::cannot_write)?;
        }
        files.events.flush().map_err(Failure::cannot_write)
    }
}

/// Keeps the lines of `metrics.jsonl` up to `step`. An evaluation of `step` itself stays only if its numbers are in the
/// checkpoint: if not, it is made again.
fn drop_later(path: &Path, step: u64, measured: bool) -> Result<(), Failure> {
    let old = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(read_failure(path, &error)),
    };
    let stays = |line: &&str| {
        // A line that a crash cut short is none.
        let Ok(line) = serde_json::from_str::<Value>(line) else { return false };
        let last = if line["kind"] == "evaluation" && !measured { step.saturating_sub(1) } else { step };
        line["step"].as_u64().is_some_and(|step| step <= last)
    };
    let new: String = old.lines().filter(stays).map(|line| format!("{line}\n")).collect();
    if new == old { Ok(()) } else { store::write_file(path, new.as_bytes()).map_err(Failure::cannot_write) }
}

impl Files {
    fn create(run_dir: &Path) -> Result<Self, Failure> {
        let lines_path = run_dir.join("metrics.jsonl");
        let lines = OpenOptions::new().create(true).append(true).open(&lines_path);
        let lines = lines.map_err(|e| write_failure(&lines_path, &e))?;
        let events = TensorBoardWriter::create(run_dir).map_err(Failure::cannot_write)?;
        Ok(Self { lines_path, lines, events })
    }
}
