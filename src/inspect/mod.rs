//! `framewise inspect`: what files hold.
//!
//! Law: the content tells what a file is, never its name; one bad file does not hide the others; and what is said does
//! not depend on how many files are looked at at a time.

mod foreign;
mod kind;
mod settings;
mod summary;
mod targets;
mod tfrecord;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use framewise_pipeline::Failure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::cli::{Format, InspectArgs};
use crate::exit;
use crate::terminal::{self, printable};
use crate::text::{Align, table};
use kind::Kind;
use summary::Summary;
use targets::Target;
use tfrecord::Records;

/// With more files than this, a good one is a line.
const IN_FULL: usize = 8;

/// Describes each file. The exit code is that of the first one in which something is wrong; with `--verify` bad data
/// (65) comes before everything else.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn inspect(args: &InspectArgs) -> anyhow::Result<u8> {
    let mut targets = Vec::new();
    let mut summary = Summary::default();
    for target in targets::expand(&args.files) {
        match target {
            Target::PassedOver(path) => summary.passed_over.push(path.display().to_string()),
            Target::Path { .. } | Target::Lost { .. } => targets.push(target),
        }
    }
    let brief = args.verify && targets.len() > IN_FULL;
    let bar = progress(args, &targets);
    let mut printed = Ok(());
    look(&targets, args.verify, &bar, |found| {
        if args.format == Format::Text && printed.is_ok() {
            // The bar is no part of the result: lines go around it.
            printed = bar.suspend(|| found.print(brief));
        }
        summary.add(found, args);
        printed.is_ok()
    });
    bar.finish_and_clear();
    printed?;
    let text = match args.format {
        Format::Json => summary.to_json(args.verify),
        Format::Text if args.verify => summary.text(),
        Format::Text => String::new(),
    };
    terminal::print(&match args.format {
        Format::Json => text.into(),
        Format::Text => printable(&text),
    })?;
    Ok(summary.exit_code)
}

/// Looks at the targets, several at a time, and hands on what was found in their order. `take` returns whether to go on.
fn look(targets: &[Target], verify: bool, bar: &ProgressBar, mut take: impl FnMut(Found) -> bool) {
    let next = AtomicUsize::new(0);
    let threads = threads().min(targets.len()).max(1);
    std::thread::scope(|scope| {
        // Bounded: what waits for its turn to be printed is held in memory.
        let (sender, found) = mpsc::sync_channel(4 * threads);
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((index, target)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, targets.get(i)?)))
                {
                    if sender.send((index, Found::of(target, verify, bar))).is_err() {
                        // Nobody listens any more.
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut waiting, mut turn) = (BTreeMap::new(), 0);
        'all: for (index, one) in found {
            waiting.insert(index, one);
            while let Some(one) = waiting.remove(&turn) {
                turn += 1;
                if !take(one) {
                    next.store(targets.len(), Ordering::Relaxed);
                    break 'all;
                }
            }
        }
    });
}

/// As many as there are cores, or as the variable says that limits every computation.
fn threads() -> usize {
    let wanted = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
    let wanted = wanted.filter(|&threads: &usize| threads > 0);
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Bytes on the disk, on a terminal only.
fn progress(args: &InspectArgs, targets: &[Target]) -> ProgressBar {
    if !args.verify || !terminal::stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let bytes = |target: &Target| if let Target::Path { bytes, .. } = target { *bytes } else { 0 };
    let total = targets.iter().map(bytes).sum();
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

/// What was found at a path.
struct Found {
    path: PathBuf,
    outcome: Result<Report, Failure>,
}

impl Found {
    fn of(target: &Target, verify: bool, bar: &ProgressBar) -> Self {
        match target {
            Target::Path { path, bytes } => {
                let outcome = describe(path, verify, bar, *bytes);
                Self { path: path.clone(), outcome }
            }
            Target::Lost { path, failure } => {
                let failure = Failure::new(failure.kind, failure.to_string());
                Self { path: path.clone(), outcome: Err(failure) }
            }
            Target::PassedOver(_) => unreachable!("sorted out before"),
        }
    }

    fn exit_code(&self) -> u8 {
        match &self.outcome {
            Ok(report) => report.bad,
            Err(failure) => failure.kind.exit_code(),
        }
    }

    fn print(&self, brief: bool) -> Result<(), Failure> {
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

/// Describes what is at `path`; it advances the bar by `bytes`.
fn describe(path: &Path, verify: bool, bar: &ProgressBar, bytes: u64) -> Result<Report, Failure> {
    let advance = Advance { bar, left: bytes };
    match Kind::of(path)? {
        // A name that promises records makes a text a bad file of records, with the place and the reason.
        Kind::Settings if verify && targets::is_named_records(path) => {
            tfrecord::describe(path, verify, advance)
        }
        Kind::Records => tfrecord::describe(path, verify, advance),
        Kind::Weights => weights::describe(path, verify),
        Kind::Foreign => foreign::describe(path, verify),
        Kind::Settings => settings::describe(path),
    }
}

/// Moves the bar on by what a file has on the disk, however it is read. What is left is added when it is dropped.
struct Advance<'a> {
    bar: &'a ProgressBar,
    left: u64,
}

impl Advance<'_> {
    fn by(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        self.bar.inc(bytes);
    }
}

impl Drop for Advance<'_> {
    fn drop(&mut self) {
        self.bar.inc(self.left);
    }
}

/// What was found in a file.
#[derive(Serialize)]
pub(crate) struct Report {
    /// What it is, in a few words.
    what: String,
    /// Names and values.
    #[serde(skip)]
    facts: Vec<(String, String)>,
    /// Lines below them.
    #[serde(skip)]
    details: String,
    /// Of a file of records.
    #[serde(flatten)]
    records: Option<Records>,
    /// 0, or the exit code for what is wrong with it.
    #[serde(skip)]
    bad: u8,
}

impl Report {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), facts: Vec::new(), details: String::new(), records: None, bad: exit::OK }
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

    /// A line, and below it what is wrong.
    fn brief(&self, path: &Path) -> String {
        let details = if self.bad == exit::OK { "" } else { &self.details };
        let found = self.records.as_ref().map_or(self.what.clone(), Records::brief);
        format!("{}: {found}\n{details}", path.display())
    }
}

/// The failure to open or read a file that a person named.
pub(crate) fn read_failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(exit::read_kind(error), format!("{}: {error}", path.display()))
}
