//! Reading a graph that the command line names, and `framewise render` and `graph`, which print it.

use std::path::Path;

use framewise_pipeline::Registry;
use framewise_pipeline::graph::{self, Diagnostics, Loaded, Override, ResolvedGraph};

use crate::cli::{DrawArgs, Drawing, RenderArgs};
use crate::text::plural;
use crate::{exit, terminal};

/// Prints a graph in the form in which it would run.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn render(args: &RenderArgs, registry: &Registry) -> anyhow::Result<u8> {
    with_graph(&args.graph, registry, &args.set.overrides, graph::render)
}

/// Draws a graph.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn draw(args: &DrawArgs, registry: &Registry) -> anyhow::Result<u8> {
    with_graph(
        &args.graph,
        registry,
        &args.set.overrides,
        match args.format {
            Drawing::Mermaid => graph::mermaid,
            Drawing::Dot => graph::dot,
            Drawing::Svg => graph::svg,
        },
    )
}

fn with_graph(
    path: &Path,
    registry: &Registry,
    overrides: &[Override],
    text: fn(&ResolvedGraph) -> String,
) -> anyhow::Result<u8> {
    match load(path, registry, overrides) {
        Ok(loaded) => {
            let text = text(&loaded.graph);
            let end = if text.ends_with('\n') { "" } else { "\n" };
            terminal::print(&(text + end))?;
            Ok(exit::OK)
        }
        Err(diagnostics) => Ok(diagnostics.kind().exit_code()),
    }
}

/// The path that stands for a graph on standard input.
pub(crate) const STDIN: &str = "-";
/// The name of that graph in messages. Relative paths in the graph are relative to the working directory.
const STDIN_NAME: &str = "<stdin>";

/// Reads and checks a graph. Nothing is printed.
///
/// # Errors
/// Everything that is wrong with the graph.
pub(crate) fn read(path: &Path, registry: &Registry, overrides: &[Override]) -> Result<Loaded, Diagnostics> {
    if path == Path::new(STDIN) {
        graph::load_from(Path::new(STDIN_NAME), std::io::stdin().lock(), registry, overrides)
    } else {
        graph::load(path, registry, overrides)
    }
}

/// Loads and checks a graph. Errors and warnings are printed to standard error.
///
/// # Errors
/// The errors of the graph, which were already printed.
pub(crate) fn load(path: &Path, registry: &Registry, overrides: &[Override]) -> Result<Loaded, Diagnostics> {
    match read(path, registry, overrides) {
        Ok(loaded) => {
            tell(&loaded.warnings);
            Ok(loaded)
        }
        Err(diagnostics) => {
            tell_errors(path, &diagnostics);
            Err(diagnostics)
        }
    }
}

/// Prints diagnostics to standard error.
pub(crate) fn tell(diagnostics: &Diagnostics) {
    let text = diagnostics.render(terminal::stderr_has_color());
    if !text.is_empty() {
        terminal::say(text.trim_end_matches('\n'));
    }
}

/// Prints the errors and warnings of a graph to standard error, and then how many there are.
pub(crate) fn tell_errors(path: &Path, diagnostics: &Diagnostics) {
    tell(diagnostics);
    let (errors, warnings) = (diagnostics.errors() as u64, diagnostics.warnings() as u64);
    let warnings = if warnings > 0 { format!(" and {}", plural(warnings, "warning")) } else { String::new() };
    let line = format!("\n{}{warnings} in {}", plural(errors, "error"), shown(path));
    terminal::say(&terminal::printable(&line));
}

/// The path of a graph in messages.
pub(crate) fn shown(path: &Path) -> String {
    if path == Path::new(STDIN) { STDIN_NAME.to_owned() } else { path.display().to_string() }
}

/// The first error in one line, with the number of the other errors.
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
