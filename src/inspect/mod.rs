//! `framewise inspect`: what files hold.
//!
//! Law: the content tells what a file is, never its name; and one bad file does not hide the others.

mod foreign;
mod kind;
mod settings;
mod tfrecord;
mod weights;

use std::path::Path;

use framewise_pipeline::Failure;

use crate::cli::InspectArgs;
use crate::exit;
use crate::terminal::{self, printable};
use crate::text::{Align, table};
use kind::Kind;

/// Describes each file. The exit code is that of the first one in which something is wrong.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn inspect(args: &InspectArgs) -> anyhow::Result<u8> {
    let mut code = exit::OK;
    for path in &args.files {
        let (found, bad) = match describe(path, args.verify) {
            Ok(report) => (report.text(path), report.bad),
            Err(error) => {
                terminal::error(&format!("{error:#}"));
                (String::new(), exit::code_of(&error))
            }
        };
        terminal::print(&printable(&found))?;
        if code == exit::OK {
            code = bad;
        }
    }
    Ok(code)
}

fn describe(path: &Path, verify: bool) -> anyhow::Result<Report> {
    match Kind::of(path)? {
        Kind::Records => tfrecord::describe(path, verify),
        Kind::Weights => weights::describe(path, verify),
        Kind::Foreign => foreign::describe(path, verify),
        Kind::Settings => settings::describe(path),
    }
}

/// What was found in a file.
pub(crate) struct Report {
    /// What it is, in a few words.
    what: String,
    /// Names and values.
    facts: Vec<(String, String)>,
    /// Lines below them.
    details: String,
    /// 0, or the exit code for what is wrong with it.
    bad: u8,
}

impl Report {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), facts: Vec::new(), details: String::new(), bad: exit::OK }
    }

    fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push((name.to_owned(), value.into()));
    }

    fn text(&self, path: &Path) -> String {
        let rows: Vec<_> =
            self.facts.iter().map(|(name, value)| vec![format!("  {name}"), value.clone()]).collect();
        let facts = table(&[Align::Left, Align::Left], &rows);
        format!("{}: {}\n{facts}{}", path.display(), self.what, self.details)
    }
}

/// The failure to open or read a file that a person named.
pub(crate) fn read_failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(exit::read_kind(error), format!("{}: {error}", path.display()))
}
