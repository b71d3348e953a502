//! The file of `--trace`, which is written when the run has ended.
//!
//! Law: a trace that cannot be written takes nothing from the run. Its results are written and printed before.

use std::path::{Path, PathBuf};

use console::Term;
use framewise_pipeline::Failure;
use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::engine::trace::Trace;
use framewise_pipeline::stage::context::Level;
use framewise_stages::io::{self, Output, Way, WriteError};

use super::summary;
use crate::cli::{Format, RunArgs};
use crate::observe::journal::Journal;
use crate::observe::trace::{self, Extent};
use crate::terminal;

/// The output of a trace.
#[derive(Debug)]
pub(crate) struct TraceFile {
    path: PathBuf,
    /// The file, which is opened before the run begins. A stream is opened only when the trace is there, because a FIFO
    /// without a reader holds up whoever opens it.
    opened: Option<Output>,
}

impl TraceFile {
    /// Opens the output at `path`.
    ///
    /// # Errors
    /// `CannotWrite`, which names the path and what is there.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let way = io::way_to(path)?;
        let opened = if way == Way::File { Some(io::create(path)?) } else { None };
        Ok(Self { path: path.to_owned(), opened })
    }

    /// Writes the trace of the run that `monitor` watched, and says what is in it on the stream on which the result was
    /// printed.
    ///
    /// # Errors
    /// `CannotWrite`, which names the path, and `Io` if standard output cannot be written.
    pub(crate) fn write_and_tell(
        self,
        monitor: &Monitor,
        args: &RunArgs,
        journal: &Journal,
        shares_stdout: bool,
    ) -> Result<(), Failure> {
        let Some(recorded) = monitor.take_trace() else {
            return Err(Failure::internal("the run that was to be traced has no recorders"));
        };
        let path = self.path.display().to_string();
        let extent = self.write(&recorded, monitor)?;
        if args.format == Format::Json {
            let left_out = extent.left_out().map_or(String::new(), |text| format!("; {text}"));
            journal.note(Level::Info, &format!("trace {path}: {}{left_out}", extent.words()));
            return Ok(());
        }
        let shown_on = if shares_stdout { Term::stderr() } else { Term::stdout() };
        let text = summary::trace(&path, &extent, terminal::width(&shown_on));
        if shares_stdout {
            terminal::say(text.trim_end_matches('\n'));
            Ok(())
        } else {
            terminal::print(&text)
        }
    }

    /// Writes the trace. A file appears when it is whole. Returns how much of the run is in it.
    fn write(self, recorded: &Trace, monitor: &Monitor) -> Result<Extent, Failure> {
        let Self { path, opened, .. } = self;
        let mut output = match opened {
            Some(output) => output,
            None => io::create(&path)?,
        };
        trace::write(recorded, monitor, &mut output).map_err(WriteError::at(&path))?;
        output.commit()?;
        Ok(Extent::of(recorded))
    }
}
