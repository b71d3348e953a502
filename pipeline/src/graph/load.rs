//! From the path of a graph file to a [`ResolvedGraph`].
//!
//! Each step works on what the step before it left: text → `syntax` → `document` (with `--set` applied) → `configs` →
//! `settings` (types, keys, ports) → `edges` → `cycles` → `shapes` → [`ResolvedGraph`].

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Read;
use std::path::Path;

use super::loaded::{Loaded, Sources};
use super::read::files::{self, Unreadable};
use super::read::loading::Loading;
use super::read::overrides::{self, Override};
use super::read::variables::Variables;
use super::read::{document, paths, syntax};
use super::report::collect::Report;
use super::report::diagnostic::{Diagnostic, Place};
use super::report::diagnostics::Diagnostics;
use super::report::words;
use super::resolve::configs::{self, Configs};
use super::resolve::draft::Draft;
use super::resolve::edges::{self, DraftEdge};
use super::resolve::settings;
use super::resolve::{cycles, outputs, shapes, upstream};
use super::resolved::{ResolvedEdge, ResolvedGraph, ResolvedStage, STALL_TIMEOUT};
use crate::edge::channel::EdgeLimits;
use crate::stage::component::Registry;

/// Reads and checks a graph file.
///
/// # Errors
/// Everything that is wrong with the graph. The kind is `NotFound` when the graph file itself cannot be opened.
pub fn load(path: &Path, registry: &Registry, overrides: &[Override]) -> Result<Loaded, Diagnostics> {
    load_as(path, registry, overrides, false)
}

/// Reads and checks a graph that a stage of another graph names. Its own stages name no further graph:
/// [`CheckContext::is_inner`](crate::CheckContext::is_inner) tells them so. Graphs that name each other in a ring are
/// therefore found, and not followed for ever.
///
/// # Errors
/// Everything that is wrong with the graph, as for [`load`].
pub fn load_inner(path: &Path, registry: &Registry, overrides: &[Override]) -> Result<Loaded, Diagnostics> {
    load_as(path, registry, overrides, true)
}

/// Reads and checks a graph that comes from a reader, such as standard input. `path` is as for [`load_str`].
///
/// # Errors
/// Everything that is wrong with the graph. The kind is `NotFound` when the reader fails.
pub fn load_from(
    path: &Path,
    reader: impl Read,
    registry: &Registry,
    overrides: &[Override],
) -> Result<Loaded, Diagnostics> {
    checked(path, files::read_from(reader), registry, overrides, false)
}

fn load_as(
    path: &Path,
    registry: &Registry,
    overrides: &[Override],
    is_inner: bool,
) -> Result<Loaded, Diagnostics> {
    checked(path, files::read(path), registry, overrides, is_inner)
}

/// Checks the text of a graph, if there is one.
fn checked(
    path: &Path,
    text: Result<String, Unreadable>,
    registry: &Registry,
    overrides: &[Override],
    is_inner: bool,
) -> Result<Loaded, Diagnostics> {
    let shown = path.display();
    match text {
        Ok(text) => load_text(path, &text, registry, overrides, is_inner),
        Err(Unreadable::NotText { text, at }) => {
            let mut report = Report::new();
            let file = report.add_file(&shown.to_string(), &text);
            let place = Place { file, start: at, end: at + 1 };
            report.push(Diagnostic::error(place, "this graph is not UTF-8 text"));
            Err(report.finish())
        }
        Err(unreadable @ Unreadable::TooLarge) => {
            let mut report = Report::new();
            report
                .push(Diagnostic::error(None, format!("`{shown}` is not a graph: {}", unreadable.reason())));
            Err(report.finish())
        }
        Err(unreadable) => Err(Diagnostics::not_found(format!(
            "the graph `{shown}` cannot be opened: {}",
            unreadable.reason()
        ))),
    }
}

/// Reads and checks the text of a graph. `path` names the graph in messages, and paths in the graph are relative to the
/// directory of `path`.
///
/// # Errors
/// Everything that is wrong with the graph.
pub fn load_str(
    path: &Path,
    text: &str,
    registry: &Registry,
    overrides: &[Override],
) -> Result<Loaded, Diagnostics> {
    load_text(path, text, registry, overrides, false)
}

fn load_text(
    path: &Path,
    text: &str,
    registry: &Registry,
    overrides: &[Override],
    is_inner: bool,
) -> Result<Loaded, Diagnostics> {
    let lookup = |name: &str| std::env::var_os(name);
    let mut loading = Loading::new(registry, Variables::new(&lookup));
    loading.is_inner = is_inner;
    let text = files::without_mark(text);
    let cwd = match std::env::current_dir() {
        Ok(cwd) => cwd,
        Err(error) => {
            let message =
                format!("the working directory cannot be found, and paths are relative to it: {error}");
            loading.report.push(Diagnostic::error(None, message));
            return Err(loading.report.finish());
        }
    };
    let base = paths::normal(&cwd, path.parent().unwrap_or(Path::new("")));
    // The path of an inner graph was made absolute. Messages show it as users would write it.
    let path = if is_inner { path.strip_prefix(&cwd).unwrap_or(path) } else { path };
    let file = loading.add_file(path, base, text);
    let graph = resolve(path, file, text, overrides, &cwd, &mut loading);
    match graph {
        Some((graph, stages)) if !loading.report.has_errors() => {
            let sources = Sources { report: loading.report.without_messages(), stages, is_inner };
            Ok(Loaded { graph, warnings: loading.report.finish(), sources })
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
) -> Option<(ResolvedGraph, Vec<upstream::Written>)> {
    let start = Place { file, start: 0, end: 0 };
    if text.len() > files::LARGEST {
        loading.report.push(Diagnostic::error(
            start,
            format!("this is not a graph: {}", Unreadable::TooLarge.reason()),
        ));
        return None;
    }
    let tree = syntax::parse(file, text, &mut loading.report);
    let mut document = document::read(tree, loading);
    // An inner graph takes the configs of the outer one only where it uses configs of these names.
    let applies = |set: &&Override| match set.key.strip_prefix("use.") {
        Some(name) if loading.is_inner => document.uses.iter().any(|entry| entry.key == name),
        _ => true,
    };
    let overrides: Vec<_> = overrides.iter().filter(applies).cloned().collect();
    let sources =
        overrides.iter().map(|o| loading.add_override(cwd.to_owned(), &o.text())).collect::<Vec<_>>();
    overrides::apply(&mut document, &overrides, &sources, loading);
    loading.set_configs = configs::set(&document, loading);
    let heading = document::heading(&document, loading);
    let mut configs = Configs::load(&document, loading);
    let mut stages = Vec::with_capacity(document.stages.len());
    for written in &document.stages {
        stages.push(settings::resolve(written, &mut configs, start, loading));
    }
    for diagnostic in std::mem::take(&mut loading.findings).diagnostics() {
        loading.report.push(diagnostic);
    }
    if !loading.is_inner {
        inner_graphs(&stages, loading);
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
    outputs::check(&stages, loading);
    let edges = edges::connect(&stages, document.lost_table, loading);
    let order = cycles::order(&stages, &edges, loading);
    shapes::propagate(&mut stages, &edges, &order);
    shapes::check(&stages, &edges, loading);
    if loading.report.has_errors() {
        return None;
    }
    let written: Vec<_> = stages
        .iter()
        .map(|stage| upstream::Written {
            header: stage.header,
            origins: stage.origins.clone(),
            entries: stage.entries.clone(),
        })
        .collect();
    let graph = finish(path, heading, stages, &edges);
    upstream::check(&graph, &written, loading);
    Some((graph, written))
}

/// Checks the graphs that the stages run, and adds what is wrong with them to the report.
fn inner_graphs(stages: &[Draft<'_>], loading: &mut Loading<'_>) {
    for stage in stages.iter().filter(|stage| stage.unknown.is_empty()) {
        let Some(component) = stage.component else { continue };
        for inner in component.graphs(&stage.settings, &loading.check_context()) {
            let place = stage.origins.get(inner.key).copied().unwrap_or(stage.header);
            match load_inner(&inner.path, loading.registry, &inner.overrides()) {
                Ok(_) => {}
                Err(found) => loading.report.absorb(&found, place, &stage.name),
            }
        }
    }
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

/// Draws a seed from the operating system's entropy (the keys of std's hash maps). The seed is small enough to be exact
/// in JSON.
fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 11
}
