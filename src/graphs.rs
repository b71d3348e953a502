//! `framewise check`, `render` and `graph`: what can be done with a graph without running it.

use std::path::Path;

use framewise_pipeline::Registry;
use framewise_pipeline::graph::{self, Diagnostics, Override, ResolvedGraph};

use crate::cli::{CheckArgs, DrawArgs, Drawing, RenderArgs};
use crate::text::plural;
use crate::{exit, terminal};

/// Checks graphs; every error of every file is told. The exit code is that of the first file that has any.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn check(args: &CheckArgs) -> anyhow::Result<u8> {
    let registry = framewise_stages::registry();
    let mut code = exit::OK;
    for path in &args.graphs {
        match load(path, &registry, &[]) {
            Ok(graph) => {
                let stages = plural(graph.stages.len() as u64, "stage");
                let edges = plural(graph.edges.len() as u64, "edge");
                let line = format!("{}: ok ({stages}, {edges})\n", path.display());
                terminal::print(&terminal::printable(&line))?;
            }
            Err(diagnostics) if code == exit::OK => code = diagnostics.kind().exit_code(),
            Err(_) => {}
        }
    }
    Ok(code)
}

/// Prints a graph as it would run.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn render(args: &RenderArgs) -> anyhow::Result<u8> {
    with_graph(&args.graph, &args.set.overrides, graph::render)
}

/// Draws a graph.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn draw(args: &DrawArgs) -> anyhow::Result<u8> {
    with_graph(
        &args.graph,
        &args.set.overrides,
        match args.format {
            Drawing::Mermaid => graph::mermaid,
            Drawing::Dot => graph::dot,
            Drawing::Svg => graph::svg,
        },
    )
}

fn with_graph(path: &Path, overrides: &[Override], text: fn(&ResolvedGraph) -> String) -> anyhow::Result<u8> {
    match load(path, &framewise_stages::registry(), overrides) {
        Ok(graph) => {
            let text = text(&graph);
            let end = if text.ends_with('\n') { "" } else { "\n" };
            terminal::print(&(text + end))?;
            Ok(exit::OK)
        }
        Err(diagnostics) => Ok(diagnostics.kind().exit_code()),
    }
}

/// Loads and checks a graph. Errors and warnings are told on standard error.
///
/// # Errors
/// The graph's errors, told already.
pub(crate) fn load(
    path: &Path,
    registry: &Registry,
    overrides: &[Override],
) -> Result<ResolvedGraph, Diagnostics> {
    let tell = |diagnostics: &Diagnostics| {
        let text = diagnostics.render(terminal::stderr_has_color());
        if !text.is_empty() {
            terminal::say(text.trim_end_matches('\n'));
        }
    };
    match graph::load(path, registry, overrides) {
        Ok(loaded) => {
            tell(&loaded.warnings);
            Ok(loaded.graph)
        }
        Err(diagnostics) => {
            tell(&diagnostics);
            Err(diagnostics)
        }
    }
}

/// The first error in one line, with the number of the others.
pub(crate) fn first_message(diagnostics: &Diagnostics) -> String {
    let mut errors = diagnostics.iter().filter(|(_, d)| d.severity() == graph::Severity::Error);
    let Some((position, first)) = errors.next() else { return "the graph has errors".to_owned() };
    let place = position.map_or(String::new(), |at| format!("{}:{}:{}: ", at.file, at.line, at.column));
    let others = match errors.count() {
        0 => String::new(),
        n => format!(" (and {})", plural(n as u64, "more error")),
    };
    format!("{place}{}{others}", first.message())
}
