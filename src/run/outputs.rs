//! The check of the files that the stages of a run write, before the run begins.
//!
//! The check of a graph compares paths as far as they are known there. Here more is known: the run directory, and the
//! files that the patterns and lists of the graph name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use framewise_pipeline::graph::{ResolvedGraph, real_path};
use framewise_pipeline::stage::key::KeyKind;
use framewise_pipeline::{Failure, Registry};
use framewise_stages::io::{self, Way, patterns};

use super::checkpoints;
use super::directory::{GRAPH, OWN_LOGS, RESULTS, STAGES};
use super::lock::LOCK;
use crate::cli::{Format, RunArgs};
use crate::exit::UsageError;
use crate::paths;
use crate::serve::LIVE;

/// Whether a stage or the trace is written to standard output, where the result of the run would stand too.
///
/// # Errors
/// A usage error if two of them are, or if the result is to be JSON there.
pub(crate) fn share_standard_output(
    args: &RunArgs,
    graph: &ResolvedGraph,
    registry: &Registry,
) -> anyhow::Result<bool> {
    let stage = on_standard_output(graph, registry);
    let trace = args.trace.as_deref().filter(|path| is_standard_output(path));
    let why = match (stage, trace, args.format) {
        (Some(stage), Some(_), _) => {
            format!("stage `{stage}` and --trace both write to standard output; give one of them a file")
        }
        (Some(stage), None, Format::Json) => format!(
            "stage `{stage}` writes to standard output, where the JSON of the result would stand too; give the stage a \
             file, or leave `--format json` out"
        ),
        (None, Some(_), Format::Json) => {
            "--trace writes to standard output, where the JSON of the result would stand \
                                          too; give it a file, or leave `--format json` out"
                .to_owned()
        }
        (stage, trace, _) => return Ok(stage.is_some() || trace.is_some()),
    };
    Err(UsageError(why).into())
}

/// Whether a path leads to standard output.
fn is_standard_output(path: &Path) -> bool {
    io::is_standard_output(path) || io::way_to(path).is_ok_and(|way| way == Way::StandardOutput)
}

/// The stage that writes to standard output.
fn on_standard_output<'g>(graph: &'g ResolvedGraph, registry: &Registry) -> Option<&'g str> {
    let is_it = |text: &str| {
        let path = Path::new(text);
        // A relative path lies in the run directory, which holds no such link.
        io::is_standard_output(path) || path.is_absolute() && is_standard_output(path)
    };
    let mut outputs = paths::named(graph, registry).filter(|(_, _, kind, _)| *kind == KeyKind::OutputPath);
    outputs.find(|(_, _, _, text)| is_it(text)).map(|(stage, ..)| graph.stages[stage].name.as_str())
}

/// Refuses an output that is a file of the run itself, another output, or a file that the run reads.
///
/// # Errors
/// `Config`, which names the stages and the file.
pub(crate) fn check(
    args: &RunArgs,
    graph: &ResolvedGraph,
    registry: &Registry,
    run_dir: &Path,
) -> Result<(), Failure> {
    let absolute = |path: &Path| real_path(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let mut taken: BTreeMap<PathBuf, String> = BTreeMap::new();
    let own = OWN_LOGS.iter().chain(&[GRAPH, RESULTS, STAGES, LOCK, LIVE]);
    taken.extend(own.map(|name| (absolute(&run_dir.join(name)), format!("the run keeps its {name} there"))));
    taken.insert(absolute(run_dir), "it is the run directory".to_owned());
    if checkpoints::named(graph).is_none()
        && let Some(directory) = checkpoints::directory(graph, run_dir)
    {
        taken.insert(absolute(&directory), "the run keeps its checkpoints there".to_owned());
    }
    let mut written = false;
    if let Some(path) =
        args.trace.as_deref().filter(|path| io::way_to(path).is_ok_and(|way| way == Way::File))
    {
        written = true;
        taken.entry(absolute(&args.graph)).or_insert_with(|| "it is the graph".to_owned());
        if let Some(why) = taken.insert(absolute(path), "--trace writes to it".to_owned()) {
            let path = path.display();
            return Err(Failure::config(format!("--trace is {path}, and {why}; name another file")));
        }
    }
    for (stage, key, kind, text) in paths::named(graph, registry) {
        let stage = &graph.stages[stage];
        let path = Path::new(text);
        let path = match kind {
            KeyKind::OutputDirectory => path.to_owned(),
            KeyKind::OutputPath if io::is_standard_output(path) => continue,
            // A stream that is written through destroys nothing.
            KeyKind::OutputPath if io::way_to(&run_dir.join(path)).is_ok_and(|way| way != Way::File) => {
                continue;
            }
            KeyKind::OutputPath => run_dir.join(path),
            _ => continue,
        };
        written |= kind == KeyKind::OutputPath;
        let by = format!("stage `{}` writes to it", stage.name);
        if let Some(why) = taken.insert(absolute(&path), by) {
            let (name, path) = (&stage.name, path.display());
            return Err(Failure::config(format!(
                "`{key}` of stage `{name}` is {path}, and {why}; give the stage a path of its own"
            )));
        }
    }
    // Looking up every input takes time. In a run that names no output, no input can be overwritten.
    if written { check_reads(graph, registry, &taken, absolute) } else { Ok(()) }
}

fn check_reads(
    graph: &ResolvedGraph,
    registry: &Registry,
    taken: &BTreeMap<PathBuf, String>,
    absolute: impl Fn(&Path) -> PathBuf,
) -> Result<(), Failure> {
    for (stage, key, kind, text) in paths::named(graph, registry) {
        let stage = &graph.stages[stage];
        let files = match kind {
            KeyKind::Path => vec![PathBuf::from(text)],
            // If the files cannot be found, the stage reports that when it is built.
            KeyKind::Paths => patterns::expand(&[text.to_owned()], Path::new("")).unwrap_or_default(),
            _ => continue,
        };
        // Nothing is lost where a directory is both read and written to. A run may continue from checkpoints and add to
        // them.
        for file in files.iter().filter(|file| file.is_file()) {
            if let Some(why) = taken.get(&absolute(file)) {
                let (name, file) = (&stage.name, file.display());
                return Err(Failure::config(format!(
                    "`{key}` of stage `{name}` reads {file}, and {why}; write to another file"
                )));
            }
        }
    }
    Ok(())
}
