//! The journal: the messages of a run. `log.jsonl` gets every message, and standard error gets those that matter.
//!
//! Laws: a message is one whole line of the log. A message that cannot be shown or logged never stops a run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use framewise_pipeline::Failure;
use framewise_pipeline::engine::RunError;
use framewise_pipeline::stage::context::{Level, Observer};
use serde::Serialize;

use super::recent::{Curve, Point, Recent};
use crate::exit::cannot_write;
use crate::terminal::{self, LineSink, RED, YELLOW, paint, printable};
use crate::text::seconds;

/// The numbers of a report or of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Numbers {
    /// The step after which they were measured, counted from 1.
    pub(crate) step: u64,
    pub(crate) values: BTreeMap<String, f64>,
}

/// The receiver of the messages of a run.
pub(crate) struct Journal {
    /// When the stages began to run.
    begun: OnceLock<Instant>,
    /// The lowest level that is shown. Messages of lower levels are only logged.
    shown: Level,
    log: Mutex<Log>,
    /// What those who watch the run see of its past. `None` in a run that nobody can watch.
    recent: Option<Mutex<Recent>>,
    /// The last numbers of each kind that stages reported.
    numbers: Mutex<BTreeMap<String, Numbers>>,
    /// The function with which the progress display prints lines, while there is a display.
    sink: Mutex<Option<LineSink>>,
}

struct Log {
    path: PathBuf,
    /// The log; `None` after a write failed.
    file: Option<File>,
}

/// A line of `log.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    seconds: f64,
    level: &'a str,
    stage: Option<&'a str>,
    text: &'a str,
}

impl Journal {
    /// Opens the log at the end of the file `path`. The clock stands at 0 until the stages begin. With `watched`, the
    /// journal keeps what [`Recent`] shows.
    ///
    /// # Errors
    /// `CannotWrite` naming the log.
    pub(crate) fn create(path: PathBuf, shown: Level, watched: bool) -> Result<Self, Failure> {
        let file = framewise_stages::io::append(&path);
        let file = Some(file.map_err(|e| cannot_write(&path, &e))?);
        let log = Mutex::new(Log { path, file });
        let recent = watched.then(Mutex::default);
        let (numbers, sink) = (Mutex::default(), Mutex::new(None));
        Ok(Self { begun: OnceLock::new(), shown, log, recent, numbers, sink })
    }

    /// Starts the clock. The seconds of a run count from here in every view: in the log, in the progress and in the
    /// result.
    pub(crate) fn begin(&self) {
        self.begun.get_or_init(Instant::now);
    }

    /// The seconds since the stages began to run, or 0 before that.
    pub(crate) fn seconds(&self) -> f64 {
        self.begun.get().map_or(0.0, |begun| begun.elapsed().as_secs_f64())
    }

    /// The last numbers of this kind that a stage reported.
    pub(crate) fn last_numbers(&self, kind: &str) -> Option<Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).get(kind).cloned()
    }

    /// The newest lines of the log, each a JSON object, the oldest first. In a run that nobody can watch there are none.
    pub(crate) fn newest(&self) -> Vec<String> {
        self.recent().map_or_else(Vec::new, |recent| recent.lines())
    }

    /// The numbers that stages have reported, by their kind. In a run that nobody can watch there are none.
    pub(crate) fn curves(&self) -> BTreeMap<String, Curve> {
        self.recent().map_or_else(BTreeMap::new, |recent| recent.curves())
    }

    fn recent(&self) -> Option<MutexGuard<'_, Recent>> {
        Some(self.recent.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows and logs a message of the run itself.
    pub(crate) fn note(&self, level: Level, text: &str) {
        self.message(level, "", text);
    }

    /// Shows and logs the error that ended the run.
    pub(crate) fn failed(&self, error: &RunError) {
        self.write_log("error", &error.stage, &error.failure.to_string());
        self.show(&format!("{} {}", paint("error:", RED), printable(&error.to_string())));
    }

    /// Shows a line through `sink` from now on, or on standard error.
    pub(crate) fn redirect(&self, sink: Option<LineSink>) {
        terminal::redirect(sink.clone());
        *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = sink;
    }

    /// Logs a message without showing it.
    pub(crate) fn log(&self, level: Level, stage: &str, text: &str) {
        self.write_log(level.as_str(), stage, text);
    }

    /// Shows a line without logging it.
    pub(crate) fn show(&self, line: &str) {
        // The lock is not held while printing, because a panic in the display must find it free.
        let sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match sink {
            Some(sink) => line.lines().for_each(|line| sink(line)),
            None => terminal::say(line),
        }
    }

    fn write_log(&self, level: &str, stage: &str, text: &str) {
        let stage = (!stage.is_empty()).then_some(stage);
        let rounded = (self.seconds() * 1e3).round() / 1e3;
        let line = match serde_json::to_string(&Line { seconds: rounded, level, stage, text }) {
            Ok(line) => line,
            // A struct of numbers and texts has a JSON form.
            Err(_) => return,
        };
        if let Some(mut recent) = self.recent() {
            recent.line(&line);
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &mut log.file else { return };
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            log.file = None;
            let failure = cannot_write(&log.path, &error);
            drop(log);
            self.show(&format!("{} {failure}; messages are no longer logged", paint("warning:", YELLOW)));
        }
    }
}

impl Observer for Journal {
    fn numbers(&self, kind: &str, step: u64, values: &[(&str, f64)]) {
        let values = || values.iter().map(|(name, value)| ((*name).to_owned(), *value));
        if let Some(mut recent) = self.recent() {
            recent.point(kind, Point { seconds: self.seconds(), step, values: values().collect() });
        }
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.insert(kind.to_owned(), Numbers { step, values: values().collect() });
    }

    fn message(&self, level: Level, stage: &str, text: &str) {
        self.log(level, stage, text);
        if level < self.shown {
            return;
        }
        let mut line = format!("{} ", seconds(self.seconds()));
        if level == Level::Warning {
            line += &paint("warning:", YELLOW);
            line.push(' ');
        }
        if !stage.is_empty() {
            line += &format!("{stage}: ");
        }
        line += &printable(text);
        self.show(&line);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn every_message_is_logged_and_those_that_matter_are_shown() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log.jsonl");
        let journal = Journal::create(path.clone(), Level::Info, true).unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        *journal.sink.lock().unwrap() =
            Some(Arc::new(move |line: &str| sink.lock().unwrap().push(line.to_owned())));
        journal.message(Level::Debug, "reader", "reading a.tfrecord");
        journal.message(Level::Info, "report", "step 1");
        journal.message(Level::Warning, "", "line\u{7}");

        let shown = lines.lock().unwrap().clone();
        assert_eq!(shown.len(), 2);
        assert!(shown[0].ends_with("s report: step 1"), "{shown:?}");
        assert!(shown[1].ends_with("warning: line\\u{7}"), "{shown:?}");

        let log = std::fs::read_to_string(path).unwrap();
        let log: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let stages: Vec<_> = log.iter().map(|line| line["stage"].as_str()).collect();
        assert_eq!(stages, [Some("reader"), Some("report"), None]);
        assert_eq!(log[0]["level"], "debug");
        assert_eq!(log[2]["text"], "line\u{7}");
        let newest: Vec<serde_json::Value> =
            journal.newest().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(newest, log);
        journal.numbers("train", 7, &[("loss", 0.5)]);
        assert_eq!(journal.last_numbers("train").unwrap().values["loss"], 0.5);
        let point = Point { seconds: 0.0, step: 7, values: vec![("loss".to_owned(), 0.5)] };
        assert_eq!(journal.curves()["train"].points().collect::<Vec<_>>(), [&point]);
        assert_eq!(log[1]["seconds"], 0.0);
        journal.begin();
        assert!(journal.seconds() > 0.0);
    }
    #[test]
    fn a_run_that_nobody_can_watch_keeps_no_past() {
        let temp = tempfile::tempdir().unwrap();
        let journal = Journal::create(temp.path().join("log.jsonl"), Level::Warning, false).unwrap();
        journal.log(Level::Info, "", "text");
        journal.numbers("train", 1, &[("loss", 0.5)]);
        assert!(journal.newest().is_empty() && journal.curves().is_empty());
        assert_eq!(journal.last_numbers("train").unwrap().step, 1);
    }
}
