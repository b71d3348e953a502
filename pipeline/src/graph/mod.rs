//! The TOML graph: parsing with places, resolution and checks, writing and drawing.
//!
//! Law: [`load`] reports everything that is wrong at once, and what it returns needs no further check. The
//! steps, each on what the one before it left: text → `syntax` → `document` (with `--set` applied) →
//! `configs` → `settings` (types, keys, ports) → `edges` → `cycles` → `shapes` → [`ResolvedGraph`].

mod compare;
mod configs;
mod context;
mod cycles;
mod diagnostic;
mod document;
mod draw;
mod edges;
mod files;
mod overrides;
mod paths;
mod quantities;
mod render;
mod repair;
mod repeated;
mod resolved;
mod settings;
mod shapes;
mod syntax;
mod values;
mod variables;
mod words;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

pub use compare::{Change, compare};
pub use diagnostic::{Diagnostic, Diagnostics, Position, Severity};
pub use draw::{dot, mermaid, svg};
pub use overrides::{Override, OverrideError};
pub use render::render;
pub use resolved::{ResolvedEdge, ResolvedGraph, ResolvedStage};

use crate::channel::EdgeLimits;
use crate::component::Registry;
use crate::watchdog::STALL_TIMEOUT;
use context::Loading;
use diagnostic::Place;
use edges::DraftEdge;
use files::Unreadable;
use settings::Draft;

/// A graph that passed every check.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The graph.
    pub graph: ResolvedGraph,
    /// What is hardly meant, but can run.
    pub warnings: Diagnostics,
}

/// Reads and checks a graph file.
///
/// # Errors
/// Everything that is wrong with it. The kind is `NotFound` when the file itself cannot be opened.
pub fn load(path: &Path, registry: &Registry, overrides: &[Override]) -> Result<Loaded, Diagnostics> {
    let shown = path.display();
    match files::read(path) {
        Ok(text) => load_str(path, &text, registry, overrides),
        Err(Unreadable::NotText { text, at }) => {
            let mut report = diagnostic::Report::new();
            let file = report.add_file(&shown.to_string(), &text);
            let place = Place { file, start: at, end: at + 1 };
            report.push(Diagnostic::error(place, "this graph is not UTF-8 text"));
            Err(report.finish())
        }
        Err(unreadable @ Unreadable::TooLarge) => {
            let mut report = diagnostic::Report::new();
            report.push(Diagnostic::error(None, format!("`{shown}` is no graph: {}", unreadable.reason())));
            Err(report.finish())
        }
        Err(unreadable) => Err(Diagnostics::not_found(format!(
            "the graph `{shown}` cannot be opened: {}",
            unreadable.reason()
        ))),
    }
}

/// Checks the text of a graph. `path` names it in messages; paths in it are relative to that path's directory.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_str(
    path: &Path,
    text: &str,
    registry: &Registry,
    overrides: &[Override],
) -> Result<Loaded, Diagnostics> {
    let lookup = |name: &str| std::env::var_os(name);
    let mut loading = Loading::new(registry, variables::Variables::new(&lookup));
    let text = files::without_mark(text);
    let cwd = match std::env::current_dir() {
        Ok(cwd) => cwd,
        Err(error) => {
            let message =
                format!("the working directory, which paths are relative to, is not there: {error}");
            loading.report.push(Diagnostic::error(None, message));
            return Err(loading.report.finish());
        }
    };
    let base = paths::normal(&cwd, path.parent().unwrap_or(Path::new("")));
    let file = loading.add_file(path, base, text);
    let graph = resolve(path, file, text, overrides, &cwd, &mut loading);
    match graph {
        Some(graph) if !loading.report.has_errors() => {
            Ok(Loaded { graph, warnings: loading.report.finish() })
        }
        _ => Err(loading.report.finish()),
    }
}

fn resolve(
    path: &Path,
    file: usize,
    text: &str,
    overrides: &[Override],
    cwd: &Path,
    loading: &mut Loading<'_>,
) -> Option<ResolvedGraph> {
    let start = Place { file, start: 0, end: 0 };
    if text.len() > files::LARGEST {
        loading
            .report
            .push(Diagnostic::error(start, format!("this is no graph: {}", Unreadable::TooLarge.reason())));
        return None;
    }
    let tree = syntax::parse(file, text, &mut loading.report);
    let mut document = document::read(tree, loading);
    let sources =
        overrides.iter().map(|o| loading.add_override(cwd.to_owned(), &o.text())).collect::<Vec<_>>();
    document::apply(&mut document, overrides, &sources, loading);
    let heading = document::heading(&document, loading);
    let mut configs = configs::Configs::load(&document, loading);
    let mut stages = Vec::with_capacity(document.stages.len());
    for written in &document.stages {
        stages.push(settings::resolve(written, &mut configs, start, loading));
    }
    if !document.lost_table && stages.iter().all(|s| s.configs_known) {
        configs.report_unused(loading);
    }
    if stages.is_empty() && !document.lost_table {
        loading.report.push(
            Diagnostic::error(start, "the graph has no stages")
                .help("a stage is a table `[stages.NAME]` with a `type`"),
        );
    }
    let edges = edges::connect(&stages, document.lost_table, loading);
    let order = cycles::order(&stages, &edges, loading);
    shapes::propagate(&mut stages, &edges, &order);
    shapes::check(&stages, &edges, loading);
    if loading.report.has_errors() {
        return None;
    }
    Some(finish(path, heading, stages, &edges))
}

fn finish(
    path: &Path,
    heading: document::Heading,
    stages: Vec<Draft<'_>>,
    edges: &[DraftEdge],
) -> ResolvedGraph {
    let stem = || path.file_stem().map(|s| words::printable(&s.to_string_lossy()));
    let limits = |stage: &Draft<'_>, output: usize| EdgeLimits {
        items: stage.capacity.unwrap_or(stage.ports.outputs[output].capacity.max(1)),
        bytes: stage.capacity_bytes,
    };
    let edges = edges.iter().map(|edge| {
        let producer = &stages[edge.from.0];
        ResolvedEdge {
            from: edge.from,
            to: edge.to,
            limits: limits(producer, edge.from.1),
            payload: producer.ports.outputs[edge.from.1].payload.clone(),
            delayed: edge.delayed,
        }
    });
    let edges = edges.collect();
    let stages = stages.into_iter().map(|stage| ResolvedStage {
        type_name: stage.type_name().to_owned(),
        name: stage.name,
        settings: stage.settings,
        ports: stage.ports,
    });
    ResolvedGraph {
        name: heading.name.or_else(stem).filter(|n| !n.is_empty()).unwrap_or_else(|| "graph".to_owned()),
        seed_given: heading.seed.is_some(),
        seed: heading.seed.unwrap_or_else(fresh_seed),
        stall_timeout: heading.stall_timeout.unwrap_or(Some(STALL_TIMEOUT)),
        memory: heading.memory,
        stages: stages.collect(),
        edges,
    }
}

/// A seed from the operating system's entropy (the keys of std's hash maps), small enough to be exact in JSON.
fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 11
}
