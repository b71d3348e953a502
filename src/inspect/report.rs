//! The report on one file, as text and as JSON.

use std::path::{Path, PathBuf};

use framewise_pipeline::Failure;
use serde::Serialize;

use super::facts::Facts;
use super::records::Records;
use crate::exit;
use crate::terminal::{self, printable};
use crate::text::{Align, table};

/// The finding at a path.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) outcome: Result<Report, Failure>,
}

impl Found {
    /// The exit code: 0, or the code for what is wrong there.
    pub(super) fn exit_code(&self) -> u8 {
        match &self.outcome {
            Ok(report) => report.bad,
            Err(failure) => failure.kind.exit_code(),
        }
    }

    /// Prints the finding, in one line if `brief`. A failure goes to standard error.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn print(&self, brief: bool) -> Result<(), Failure> {
        match &self.outcome {
            Ok(report) => {
                let text = if brief { report.brief(&self.path) } else { report.text(&self.path) };
                terminal::print(&printable(&text))
            }
            Err(failure) => {
                terminal::error(&failure.to_string());
                Ok(())
            }
        }
    }
}

/// The report on a file.
#[derive(Serialize)]
pub(super) struct Report {
    /// What the file is, in a few words.
    pub(super) what: String,
    /// Facts about the file, as names and values.
    #[serde(skip)]
    pub(super) facts: Facts,
    /// Further lines below the facts.
    #[serde(skip)]
    pub(super) details: String,
    /// The counts, for a file of records.
    #[serde(flatten)]
    pub(super) records: Option<Records>,
    /// With `--verify`, the index and the id of every good record of a file of records.
    #[serde(skip)]
    pub(super) ids: Vec<(u64, String)>,
    /// The exit code: 0, or the code for what is wrong with the file.
    #[serde(skip)]
    pub(super) bad: u8,
}

impl Report {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            facts: Facts::default(),
            details: String::new(),
            records: None,
            ids: Vec::new(),
            bad: exit::OK,
        }
    }

    pub(super) fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.text(name, value);
    }

    pub(super) fn text(&self, path: &Path) -> String {
        let facts = table(&[Align::Left, Align::Left], &self.facts.rows());
        format!("{}: {}\n{facts}{}", path.display(), self.what, self.details)
    }

    /// A line about the file, and below it what is wrong.
    pub(super) fn brief(&self, path: &Path) -> String {
        let details = if self.bad == exit::OK { "" } else { &self.details };
        let found = self.records.as_ref().map_or(self.what.clone(), Records::brief);
        format!("{}: {found}\n{details}", path.display())
    }
}
