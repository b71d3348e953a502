//! Whether a graph may run on several ranks of which each reads a part of the records.

use super::resolve::upstream::before;
use super::resolved::ResolvedGraph;
use crate::stage::component::{CheckContext, Registry, Site};

/// The stages that may not run on a part of the records, each with the reason in words that follow its name. Without any,
/// the results of ranks that read a part of the records each can be put together.
pub fn undivided(graph: &ResolvedGraph, registry: &Registry) -> Vec<(String, String)> {
    let stages = graph.stages.iter().enumerate();
    let reasons = stages.filter_map(|(index, stage)| {
        let (upstream, check) = (before(graph, index), CheckContext::new(registry));
        let site = Site { settings: &stage.settings, upstream: &upstream, check, resumes: false };
        let reason = registry.get(&stage.type_name)?.divides(&site).err()?;
        Some((stage.name.clone(), reason))
    });
    reasons.collect()
}
