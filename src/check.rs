//! `framewise check`: everything that can be wrong with graphs, before anything runs.

use std::path::Path;

use framewise_pipeline::Registry;
use framewise_pipeline::graph::{Diagnostics, Loaded};
use serde::Serialize;

use crate::cli::{CheckArgs, Format};
use crate::exit::{self, UsageError};
use crate::outside::{self, Outside};
use crate::problems::Problems;
use crate::run::RUNS;
use crate::text::{self, bytes, plural};
use crate::{graphs, terminal};

/// What was found in all graphs, as `--format json` prints it.
#[derive(Debug, Serialize)]
struct Checked {
    /// `ok` or `failed`.
    status: &'static str,
    exit_code: u8,
    graphs: Vec<CheckedGraph>,
}

/// What was found in one graph.
#[derive(Debug, Serialize)]
struct CheckedGraph {
    /// The path as it was given.
    file: String,
    /// `ok` or `failed`.
    status: &'static str,
    /// The name of the graph. `None` where the graph itself has errors.
    graph: Option<String>,
    /// The number of stages, and that of edges. `None` where the graph itself has errors.
    stages: Option<usize>,
    edges: Option<usize>,
    /// What the graph reads. `None` where it was not looked up.
    inputs: Option<Inputs>,
    #[serde(flatten)]
    problems: Problems,
}

/// The files that a graph reads.
#[derive(Debug, Clone, Copy, Serialize)]
struct Inputs {
    files: u64,
    bytes: u64,
}

/// One graph, with what was found in it and outside of it.
struct Examined<'a> {
    path: &'a Path,
    graph: Result<Loaded, Diagnostics>,
    outside: Option<Outside>,
}

/// Checks graphs, and reports every error of every file. The exit code is that of the first error of the first file
/// that has errors.
///
/// # Errors
/// Standard output cannot be written, or standard input is named twice.
pub(crate) fn check(args: &CheckArgs, registry: &Registry) -> anyhow::Result<u8> {
    if args.graphs.iter().filter(|path| *path == Path::new(graphs::STDIN)).count() > 1 {
        let text = "`-` stands for standard input, which can be read only once; name it once";
        return Err(UsageError(text.to_owned()).into());
    }
    let mut code = exit::OK;
    let (mut checked, mut failed, mut errors) = (Vec::new(), 0, 0);
    for path in &args.graphs {
        let examined = Examined::of(path, args, registry);
        if let Some(wrong) = examined.wrong() {
            code = if code == exit::OK { wrong.kind().exit_code() } else { code };
            failed += 1;
            errors += wrong.errors();
        }
        match args.format {
            Format::Json => checked.push(examined.checked()),
            Format::Text => examined.tell()?,
        }
    }
    if args.format == Format::Json {
        let status = if failed == 0 { "ok" } else { "failed" };
        terminal::print(&text::json(&Checked { status, exit_code: code, graphs: checked }))?;
    } else if failed > 1 {
        let (errors, all) = (plural(errors as u64, "error"), plural(args.graphs.len() as u64, "graph"));
        terminal::say(&format!("{errors} in {failed} of {all}"));
    }
    Ok(code)
}

impl<'a> Examined<'a> {
    fn of(path: &'a Path, args: &CheckArgs, registry: &Registry) -> Self {
        let graph = graphs::read(path, registry, &args.set.overrides);
        // Where a run would write if nothing else is said.
        let run_dir = |loaded: &Loaded| Path::new(RUNS).join(&loaded.graph.name);
        let outside = match &graph {
            Ok(loaded) if args.inputs => Some(outside::survey(loaded, registry, &run_dir(loaded), false)),
            _ => None,
        };
        Self { path, graph, outside }
    }

    /// The diagnostics with the errors, if there are any.
    fn wrong(&self) -> Option<&Diagnostics> {
        match (&self.graph, &self.outside) {
            (Err(wrong), _) => Some(wrong),
            (Ok(_), Some(outside)) => Some(&outside.found).filter(|found| found.errors() > 0),
            (Ok(_), None) => None,
        }
    }

    /// Prints what was found.
    fn tell(&self) -> anyhow::Result<()> {
        let loaded = match &self.graph {
            Ok(loaded) => loaded,
            Err(wrong) => {
                graphs::tell_errors(self.path, wrong);
                return Ok(());
            }
        };
        graphs::tell(&loaded.warnings);
        if let Some(wrong) = self.wrong() {
            graphs::tell_errors(self.path, wrong);
            return Ok(());
        }
        let mut parts = vec![
            plural(loaded.graph.stages.len() as u64, "stage"),
            plural(loaded.graph.edges.len() as u64, "edge"),
        ];
        if let Some(outside) = &self.outside {
            graphs::tell(&outside.found);
            parts.push(format!("{} to read, {}", plural(outside.files, "file"), bytes(outside.bytes)));
        }
        let line = format!("{}: ok ({})\n", graphs::shown(self.path), parts.join(", "));
        Ok(terminal::print(&terminal::printable(&line))?)
    }

    fn checked(&self) -> CheckedGraph {
        let graph = self.graph.as_ref().ok().map(|loaded| &loaded.graph);
        let mut problems = match &self.graph {
            Ok(loaded) => Problems::of(&loaded.warnings),
            Err(wrong) => Problems::of(wrong),
        };
        if let Some(outside) = &self.outside {
            problems.extend(Problems::of(&outside.found));
        }
        CheckedGraph {
            file: graphs::shown(self.path),
            status: if self.wrong().is_none() { "ok" } else { "failed" },
            graph: graph.map(|graph| graph.name.clone()),
            stages: graph.map(|graph| graph.stages.len()),
            edges: graph.map(|graph| graph.edges.len()),
            inputs: self.outside.as_ref().map(|o| Inputs { files: o.files, bytes: o.bytes }),
            problems,
        }
    }
}
