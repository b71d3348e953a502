//! `framewise tune`, which measures a graph, tries the changes of `workers` and `capacity` that the diagnosis proposes, and
//! keeps what helps.

mod edits;
mod search;
mod shown;

#[cfg(test)]
mod tests;

use anyhow::Context as _;
use framewise_pipeline::{Failure, Registry};
use framewise_stages::io;

use crate::cli::{Format, TuneArgs};
use crate::exit::UsageError;
use crate::graphs::STDIN;
use crate::trial::Trial;
use crate::{exit, graphs, outside, terminal, text};
use search::{Search, Tuned};

/// Measures a graph, and prints the edits that make it faster. With `--write` they are made in the graph's file.
///
/// # Errors
/// The failure of a trial run, a graph that is too short to be measured, or a file that cannot be written.
pub(crate) fn tune(args: &TuneArgs, registry: &Registry) -> anyhow::Result<u8> {
    if args.write && args.graph == std::path::Path::new(STDIN) {
        let why = "a graph on standard input is in no file that could be changed; name a file, or leave `--write` out";
        return Err(UsageError(why.to_owned()).into());
    }
    let loaded = match graphs::load(&args.graph, registry, &args.set.overrides) {
        Ok(loaded) => loaded,
        Err(diagnostics) => return Ok(diagnostics.kind().exit_code()),
    };
    let outside = outside::survey(&loaded, registry, &std::env::temp_dir(), false);
    if outside.found.errors() > 0 {
        graphs::tell_errors(&args.graph, &outside.found);
        return Ok(outside.found.kind().exit_code());
    }
    let trial = Trial::of(&loaded, registry, |_| true)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let search = Search { registry, seconds: args.seconds, cores, tell: &|line| terminal::say(line) };
    let Some(mut tuned) = search.run(trial)? else { return Ok(exit::INTERRUPTED) };
    if args.write && tuned.kept().next().is_some() {
        write(args, &tuned)?;
        tuned.written = true;
    }
    terminal::print(&match args.format {
        Format::Json => text::json(&tuned),
        Format::Text => shown::text(&tuned, terminal::width(&console::Term::stdout())),
    })?;
    Ok(exit::OK)
}

/// Makes the edits that were kept in the file of the graph, whole or not at all.
fn write(args: &TuneArgs, tuned: &Tuned) -> anyhow::Result<()> {
    let text =
        io::read_to_string(&args.graph).with_context(|| format!("reading {}", args.graph.display()))?;
    let edited = edits::applied(&text, tuned.kept().map(|tried| &tried.edit))
        .map_err(|why| Failure::config(format!("{}: {why}", args.graph.display())))?;
    Ok(io::write_file(&args.graph, edited.as_bytes()).map_err(Failure::from)?)
}
