//! `metrics.jsonl` and TensorBoard events of a run, shared by the stages that report numbers.
//!
//! Law: a line is written whole, and values that no number can stand for are `null`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use framewise_pipeline::{Failure, StageContext};
use serde_json::{Map, Value, json};

use crate::rejects::write_failure;
use crate::store::TensorBoardWriter;

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

impl Files {
    fn create(run_dir: &Path) -> Result<Self, Failure> {
        let lines_path = run_dir.join("metrics.jsonl");
        let lines = OpenOptions::new().create(true).append(true).open(&lines_path);
        let lines = lines.map_err(|e| write_failure(&lines_path, &e))?;
        let events = TensorBoardWriter::create(run_dir).map_err(Failure::cannot_write)?;
        Ok(Self { lines_path, lines, events })
    }
}
