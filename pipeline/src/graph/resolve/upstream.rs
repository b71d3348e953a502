//! The check of stages together with the stages before them. Stage types make it, once the whole graph is resolved.

use std::collections::BTreeMap;

use crate::graph::read::loading::Loading;
use crate::graph::report::diagnostic::{Place, Severity};
use crate::graph::report::findings::told;
use crate::graph::report::words;
use crate::graph::resolved::ResolvedGraph;
use crate::stage::upstream::{Neighbour, Remark, Upstream};

/// The places where the parts of a stage were written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// The place of `[stages.NAME]`.
    pub(crate) header: Place,
    /// The place of each value that is not a default.
    pub(crate) origins: BTreeMap<String, Place>,
    /// The places of the elements of each list that is written out.
    pub(crate) entries: BTreeMap<String, Vec<Place>>,
}

impl Written {
    /// The place of what a remark is about.
    pub(crate) fn place(&self, remark: &Remark) -> Place {
        let element = |index: usize| self.entries.get(remark.key)?.get(index).copied();
        let value = || self.origins.get(remark.key).copied();
        remark.entry.and_then(element).or_else(value).unwrap_or(self.header)
    }
}

/// Asks the type of every stage for remarks. `written` holds an entry for each stage of the graph.
pub(crate) fn check(graph: &ResolvedGraph, written: &[Written], loading: &mut Loading<'_>) {
    let place_of = |stage: usize, key: &str| {
        let written = &written[stage];
        written.origins.get(key).copied().unwrap_or(written.header)
    };
    for (index, stage) in graph.stages.iter().enumerate() {
        let Some(component) = loading.registry.get(&stage.type_name) else { continue };
        let before = before(graph, index);
        for remark in component.check_upstream(&stage.settings, &before, &loading.check_context()) {
            let severity = if remark.is_error { Severity::Error } else { Severity::Warning };
            let place = written[index].place(&remark);
            let mut diagnostic = told(severity, place, &stage.name, &remark.message);
            if let Some((name, key)) = &remark.other
                && let Some(other) = graph.stages.iter().position(|stage| stage.name == *name)
            {
                let label = format!("`{key}` of stage {}", words::name(name));
                diagnostic = diagnostic.also(place_of(other, key), label);
            }
            loading.report.push(diagnostic);
        }
    }
}

/// The stages before a stage, in the order of a breadth-first search.
pub(crate) fn before(graph: &ResolvedGraph, stage: usize) -> Upstream<'_> {
    let mut order = vec![stage];
    let mut next = 0;
    while let Some(&current) = order.get(next) {
        for edge in graph.edges.iter().filter(|edge| edge.to.0 == current && !edge.delayed) {
            if !order.contains(&edge.from.0) {
                order.push(edge.from.0);
            }
        }
        next += 1;
    }
    let stages = order.into_iter().skip(1).map(|index| {
        let stage = &graph.stages[index];
        Neighbour::new(&stage.name, &stage.type_name, &stage.settings, &stage.ports)
    });
    Upstream::new(stages.collect())
}
