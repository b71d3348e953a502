//! `framewise inspect`, which describes what files hold.
//!
//! Laws: the content of a file says what the file is, and its name does not. One bad file does not hide the others. The
//! report does not depend on how many files are looked at at the same time.

mod config;
mod facts;
mod foreign;
mod ids;
mod kind;
mod progress;
mod records;
mod report;
mod settings;
mod summary;
mod targets;
mod tfrecord;
mod weights;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use framewise_pipeline::{Failure, Registry};
use indicatif::ProgressBar;

use crate::cli::{Format, InspectArgs};
use crate::exit;
use crate::terminal::{self, printable};
use config::DataConfig;
use kind::Kind;
use progress::{Advance, bar};
use report::{Found, Report};
use summary::Summary;
use targets::Target;

/// The number of files above which a good file gets only a line.
const IN_FULL: usize = 8;

/// Describes each file. The exit code is that of the first file in which something is wrong. With `--verify`, bad data
/// (exit code 65) go before everything else.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn inspect(args: &InspectArgs, registry: &Registry) -> anyhow::Result<u8> {
    let mut targets = Vec::new();
    let mut summary = Summary::default();
    for target in targets::expand(&args.files) {
        match target {
            Target::PassedOver(path) => summary.passed_over.push(path.display().to_string()),
            Target::Path { .. } | Target::Lost { .. } => targets.push(target),
        }
    }
    let brief = args.verify && targets.len() > IN_FULL;
    let bar = bar(args, &targets);
    let look = Look { verify: args.verify, registry, bar: &bar };
    if args.as_config {
        return as_config(&targets, look);
    }
    let mut printed = Ok(());
    look_at_all(&targets, look, |found| {
        if args.format == Format::Text && printed.is_ok() {
            // The bar is not part of the result, so lines go around it.
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

/// Prints the configuration of the data in all files. A file that holds no records is an error, and so are files of
/// different sizes.
fn as_config(targets: &[Target], look: Look<'_>) -> anyhow::Result<u8> {
    let mut config = Ok(DataConfig::default());
    look_at_all(targets, look, |found| {
        if let Ok(so_far) = &mut config {
            let added = found.outcome.and_then(|report| match report.records {
                Some(records) => so_far.add(&found.path, &records),
                None => Err(Failure::data(format!("{}: {}, not records", found.path.display(), report.what))),
            });
            if let Err(failure) = added {
                config = Err(failure);
            }
        }
        config.is_ok()
    });
    look.bar.finish_and_clear();
    terminal::print(&printable(&config?.to_toml()?))?;
    Ok(exit::OK)
}

/// Looks at the targets, several at a time, and hands what was found to `take`, in the order of the targets. `take`
/// returns whether to continue.
fn look_at_all(targets: &[Target], look: Look<'_>, mut take: impl FnMut(Found) -> bool) {
    let next = AtomicUsize::new(0);
    let threads = threads().min(targets.len()).max(1);
    std::thread::scope(|scope| {
        // The channel is bounded, because what waits for its turn to be printed is held in memory.
        let (sender, found) = mpsc::sync_channel(4 * threads);
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((index, target)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, targets.get(i)?)))
                {
                    if sender.send((index, look.at(target))).is_err() {
                        // Nobody takes results any more.
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

/// The number of files that are looked at at the same time: the number of cores, or that of the variable that limits
/// every computation.
fn threads() -> usize {
    let wanted = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
    let wanted = wanted.filter(|&threads: &usize| threads > 0);
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The way in which files are looked at.
#[derive(Clone, Copy)]
struct Look<'a> {
    /// Whether everything is read.
    verify: bool,
    /// The stage types that graphs are checked with.
    registry: &'a Registry,
    bar: &'a ProgressBar,
}

impl Look<'_> {
    fn at(&self, target: &Target) -> Found {
        match target {
            Target::Path { path, bytes } => {
                Found { path: path.clone(), outcome: self.describe(path, *bytes) }
            }
            Target::Lost { path, failure } => {
                let failure = Failure::new(failure.kind, failure.to_string());
                Found { path: path.clone(), outcome: Err(failure) }
            }
            Target::PassedOver(_) => unreachable!("sorted out before"),
        }
    }

    /// Describes what is at `path`. The bar advances by `bytes`.
    fn describe(&self, path: &Path, bytes: u64) -> Result<Report, Failure> {
        let verify = self.verify;
        let advance = Advance::new(self.bar, bytes);
        match Kind::of(path)? {
            // A text whose name promises records is a bad file of records, and is reported with the place and the
            // reason.
            Kind::Settings if verify && targets::is_named_records(path) => {
                tfrecord::describe(path, verify, advance)
            }
            Kind::Records => tfrecord::describe(path, verify, advance),
            Kind::Weights => weights::describe(path, verify),
            Kind::Foreign => foreign::describe(path, verify),
            Kind::Settings => settings::describe(path, self.registry),
        }
    }
}
