//! The messages of a run: `log.jsonl` gets every one, standard error those that matter.
//!
//! Law: a message is one line of the log, whole; that a message cannot be shown or logged never stops a run.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use framewise_pipeline::Failure;
use framewise_pipeline::context::{Level, Observer};
use framewise_pipeline::engine::RunError;
use serde::Serialize;

use super::directory::{LOG, RunDir, cannot_write};
use crate::terminal::{self, LineSink, RED, YELLOW, paint, printable};

/// Where the messages of a run go.
pub(crate) struct Journal {
    start: Instant,
    /// Messages of lower levels are only logged.
    shown: Level,
    log: Mutex<Log>,
    /// The progress display's way to print, while there is one.
    sink: Mutex<Option<LineSink>>,
}

struct Log {
    path: PathBuf,
    /// `None` after a write failed.
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
    /// Starts the log and the clock.
    ///
    /// # Errors
    /// `CannotWrite` naming the log.
    pub(crate) fn create(directory: &RunDir, shown: Level) -> Result<Self, Failure> {
        let path = directory.path().join(LOG);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = Some(file.map_err(|e| cannot_write(&path, &e))?);
        let log = Mutex::new(Log { path, file });
        Ok(Self { start: Instant::now(), shown, log, sink: Mutex::new(None) })
    }

    /// Seconds since the run was prepared.
    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// A message of the run itself.
    pub(crate) fn note(&self, level: Level, text: &str) {
        self.message(level, "", text);
    }

    /// The error that ended the run.
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
        // Not held while printing: a panic in the display must find it free.
        let sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match sink {
            Some(sink) => line.lines().for_each(|line| sink(line)),
            None => terminal::say(line),
        }
    }

    fn write_log(&self, level: &str, stage: &str, text: &str) {
        let stage = (!stage.is_empty()).then_some(stage);
        let seconds = (self.seconds() * 1e3).round() / 1e3;
        let line = match serde_json::to_string(&Line { seconds, level, stage, text }) {
            Ok(line) => line + "\n",
            // A struct of numbers and texts has a JSON form.
            Err(_) => return,
        };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &mut log.file else { return };
        if let Err(error) = file.write_all(line.as_bytes()) {
            log.file = None;
            let failure = cannot_write(&log.path, &error);
            drop(log);
            self.show(&format!("{} {failure}; messages are no longer logged", paint("warning:", YELLOW)));
        }
    }
}

impl Observer for Journal {
    fn message(&self, level: Level, stage: &str, text: &str) {
        self.log(level, stage, text);
        if level < self.shown {
            return;
        }
        let mut line = format!("{:.1}s ", self.seconds());
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
        let directory = RunDir::create(Some(temp.path()), "").unwrap();
        let journal = Journal::create(&directory, Level::Info).unwrap();
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

        let log = std::fs::read_to_string(temp.path().join(LOG)).unwrap();
        let log: Vec<serde_json::Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let stages: Vec<_> = log.iter().map(|line| line["stage"].as_str()).collect();
        assert_eq!(stages, [Some("reader"), Some("report"), None]);
        assert_eq!(log[0]["level"], "debug");
        assert_eq!(log[2]["text"], "line\u{7}");
        assert!(log[1]["seconds"].is_f64());
    }
}
