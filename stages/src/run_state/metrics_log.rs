//! The log of a run's numbers, `metrics.jsonl` and TensorBoard events, which the stages that report numbers share.
//!
//! Laws: a line is written as a whole. Values that are not finite are `null`. However often a run is resumed, no step
//! is logged twice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Tensor};
use framewise_pipeline::{Failure, StageContext};
use serde_json::{Map, Value, json};

use crate::failure::{compute_failure, read_failure, write_failure};
use crate::io::{self, Appended};
use crate::run_state::resume::Resume;
use crate::store::TensorBoardWriter;

/// The file of the log in the run directory.
pub(crate) const METRICS: &str = "metrics.jsonl";

/// The run's log of numbers. It is made with the first line. A run without a run directory writes nothing.
#[derive(Default)]
pub(crate) struct RunLog {
    files: Mutex<Option<Files>>,
}

struct Files {
    lines_path: PathBuf,
    lines: Appended,
    /// The writers of TensorBoard's events, by the folders of their files.
    events: BTreeMap<&'static str, TensorBoardWriter>,
}

/// What a line of the log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A step of training.
    Train,
    /// A measurement of weights.
    Evaluation,
    /// A file of predictions.
    Prediction,
}

/// The folders below a run directory that hold TensorBoard's events. TensorBoard takes each for a run of its own, and so
/// lays the curves of training and of evaluation over each other.
const EVENTS: [&str; 2] = ["train", "eval"];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Train => "train",
            Kind::Evaluation => "evaluation",
            Kind::Prediction => "prediction",
        }
    }

    /// The folder of the events. A prediction makes no curve.
    fn events(self) -> Option<&'static str> {
        match self {
            Kind::Train => Some(EVENTS[0]),
            Kind::Evaluation => Some(EVENTS[1]),
            Kind::Prediction => None,
        }
    }
}

/// A value in the log, with its name.
pub(crate) type Named<'a> = (&'a str, f64);

impl RunLog {
    /// In a resumed run, drops what the log says about the steps after the checkpoint, because they come again. Every
    /// stage that logs calls this while it is built. The work is done once.
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
        drop_later(&run_dir.join(METRICS), step, measured)?;
        let files = files.insert(Files::create(run_dir)?);
        for folder in EVENTS.into_iter().filter(|folder| run_dir.join(folder).is_dir()) {
            // An evaluation of the checkpoint's own step that is not in the checkpoint is made again.
            let again = folder == EVENTS[1] && !measured;
            let first = if again { step } else { step + 1 };
            files.events(folder, context, step)?.restart(first).map_err(Failure::cannot_write)?;
        }
        Ok(())
    }

    /// The log of this run.
    pub(crate) fn of(context: &StageContext) -> Arc<RunLog> {
        context.resources.get_or_insert_with(RunLog::default)
    }

    /// Writes one line `{"kind": …, "step": …, "epoch": …, NAME: VALUE, …}` and a TensorBoard scalar `NAME` for each
    /// value.
    ///
    /// # Errors
    /// `CannotWrite`. The error names the file.
    pub(crate) fn write(
        &self,
        context: &StageContext,
        kind: Kind,
        step: u64,
        epoch: u64,
        values: &[Named<'_>],
    ) -> Result<(), Failure> {
        let Some(run_dir) = context.run_dir.as_deref() else { return Ok(()) };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::in_use(&mut files, run_dir)?;
        let text = line(kind, step, epoch, values);
        files.lines.write_all(text.as_bytes()).map_err(|e| write_failure(&files.lines_path, &e))?;
        context.observer.numbers(kind.name(), step, values);
        let Some(folder) = kind.events() else { return Ok(()) };
        let events = files.events(folder, context, step)?;
        for (name, value) in values {
            events.scalar(name, step, *value).map_err(Failure::cannot_write)?;
        }
        events.flush().map_err(Failure::cannot_write)
    }

    /// Writes the TensorBoard histogram `NAME` of each tensor of a step of training.
    ///
    /// # Errors
    /// `CannotWrite`, which names the file. A tensor that cannot be read from its device.
    pub(crate) fn histograms(
        &self,
        context: &StageContext,
        step: u64,
        tensors: impl Iterator<Item = (String, Tensor)>,
    ) -> Result<(), Failure> {
        let Some(run_dir) = context.run_dir.as_deref() else { return Ok(()) };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::in_use(&mut files, run_dir)?;
        let events = files.events(EVENTS[0], context, step)?;
        for (name, tensor) in tensors {
            let values =
                tensor.to_dtype(DType::F32).and_then(|tensor| tensor.flatten_all()?.to_vec1::<f32>());
            let values =
                values.map_err(|e| compute_failure(&format!("reading `{name}` for its histogram"), &e))?;
            events.histogram(&name, step, &values).map_err(Failure::cannot_write)?;
        }
        events.flush().map_err(Failure::cannot_write)
    }
}

/// A line of the log.
pub(crate) fn line(kind: Kind, step: u64, epoch: u64, values: &[Named<'_>]) -> String {
    let mut line = Map::new();
    line.insert("kind".into(), kind.name().into());
    line.insert("step".into(), step.into());
    line.insert("epoch".into(), epoch.into());
    // `json!` turns NaN and infinity into null.
    line.extend(values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
    format!("{}\n", Value::Object(line))
}

/// Keeps the lines of `metrics.jsonl` up to `step`. An evaluation of `step` itself stays only if its numbers are in the
/// checkpoint. If not, it is made again.
fn drop_later(path: &Path, step: u64, measured: bool) -> Result<(), Failure> {
    let old = match io::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(read_failure(path, &error)),
    };
    let stays = |line: &&str| {
        // A line that a crash cut short is left out.
        let Ok(line) = serde_json::from_str::<Value>(line) else { return false };
        let last = if line["kind"] == "evaluation" && !measured { step.saturating_sub(1) } else { step };
        line["step"].as_u64().is_some_and(|step| step <= last)
    };
    let new: String = old.lines().filter(stays).map(|line| format!("{line}\n")).collect();
    if new == old { Ok(()) } else { Ok(io::write_file(path, new.as_bytes())?) }
}

impl Files {
    fn create(run_dir: &Path) -> Result<Self, Failure> {
        let lines_path = run_dir.join(METRICS);
        let lines = io::append(&lines_path);
        let lines = lines.map_err(|e| write_failure(&lines_path, &e))?;
        Ok(Self { lines_path, lines, events: BTreeMap::new() })
    }

    /// The files of the log, which are made when they are first needed.
    fn in_use<'a>(files: &'a mut Option<Self>, run_dir: &Path) -> Result<&'a mut Self, Failure> {
        match files {
            Some(files) => Ok(files),
            None => Ok(files.insert(Self::create(run_dir)?)),
        }
    }

    /// The writer of the events in this folder of the run directory. Its file begins with the graph as it runs.
    fn events(
        &mut self,
        folder: &'static str,
        context: &StageContext,
        step: u64,
    ) -> Result<&mut TensorBoardWriter, Failure> {
        let run_dir = context.run_dir.as_deref().unwrap_or(Path::new(""));
        let writer = match self.events.entry(folder) {
            Entry::Occupied(writer) => return Ok(writer.into_mut()),
            Entry::Vacant(place) => {
                let writer = TensorBoardWriter::create(&run_dir.join(folder));
                place.insert(writer.map_err(Failure::cannot_write)?)
            }
        };
        // TensorBoard reads Markdown, in which four spaces make a block of code.
        let lines = context.resolved_graph.lines().map(|line| format!("    {line}\n"));
        writer.text("graph", step, &lines.collect::<String>()).map_err(Failure::cannot_write)?;
        Ok(writer)
    }
}
