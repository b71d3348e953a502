//! What a run left out or found odd: rejected records and the other counts of its stages, in sentences.
//!
//! Law: a sentence says which stage left out what, why, and what to do about it.

use std::collections::BTreeMap;

use framewise_pipeline::graph::{ResolvedGraph, ResolvedStage};

use super::super::result::RunResult;
use crate::observe::view::StageView;
use crate::text::{count, plural};

/// A sentence for each count of each stage, in the order of the stages.
///
/// `resumed` says whether the counts are those of the part of the run after a checkpoint.
pub(super) fn sentences(result: &RunResult, graph: &ResolvedGraph, resumed: bool) -> Vec<String> {
    let epochs = if result.status == "ok" && !resumed { epochs(graph) } else { None };
    let mut out = Vec::new();
    for stage in &result.stages {
        if !stage.rejected.is_empty() {
            out.push(rejected(&stage.name, &stage.rejected, epochs));
        }
        let of_graph = graph.stages.iter().find(|resolved| resolved.name == stage.name);
        for (name, n) in &stage.counts {
            out.push(counted(stage, of_graph, name, *n, epochs));
        }
    }
    out
}

/// The sentence about the records that a stage rejected. A bad record is rejected anew in each epoch.
fn rejected(stage: &str, reasons: &BTreeMap<String, u64>, epochs: Option<u64>) -> String {
    let epochs = epochs.filter(|epochs| reasons.values().all(|n| n.is_multiple_of(*epochs)));
    let each = |n: u64| n / epochs.unwrap_or(1);
    let total = each(reasons.values().sum());
    let of = if epochs.is_some() { " of each epoch" } else { "" };
    let names = if total == 1 { "names it" } else { "names them" };
    let reasons: Vec<_> = reasons.iter().map(|(reason, n)| format!("{reason} {}", count(each(*n)))).collect();
    let records = plural(total, "record");
    format!("`{stage}` rejected {records}{of} ({}); rejected.jsonl {names}", reasons.join(", "))
}

fn counted(
    stage: &StageView,
    resolved: Option<&ResolvedStage>,
    name: &str,
    n: u64,
    epochs: Option<u64>,
) -> String {
    let stage_name = &stage.name;
    // A stage that decodes also receives records that it rejects, and one that packs sends something else.
    let videos = if name == "dropped_by_drop_last" { stage.items_in } else { stage.items_out };
    let of = share(n, videos, epochs);
    match (name, resolved) {
        ("dropped_by_drop_last", Some(_)) => {
            format!("`{stage_name}` dropped {of} because `drop_last = true`; set it to false to use them")
        }
        ("cut_to_max_frames", Some(resolved)) => {
            let most = resolved.settings.integer("max_frames");
            format!(
                "`{stage_name}` cut {of} to their first {}; raise `max_frames` to use all of them",
                plural(most, "frame")
            )
        }
        ("without_labels", Some(_)) => {
            format!(
                "`{stage_name}` found no labels in {of}; if they should have some, look at `labels` of their records"
            )
        }
        // A stage type of another crate chooses its own names.
        _ => format!("`{stage_name}` counted {name}: {}", count(n)),
    }
}

/// The words for `n` of `all` videos: of each epoch where every epoch has the same numbers, and of the run otherwise.
fn share(n: u64, all: u64, epochs: Option<u64>) -> String {
    match epochs {
        Some(epochs) if n.is_multiple_of(epochs) && all.is_multiple_of(epochs) => {
            format!("{} of {} of each epoch", count(n / epochs), plural(all / epochs, "video"))
        }
        _ => format!("{} of {}", count(n), plural(all, "video")),
    }
}

/// The number of epochs, where the graph has one source and it makes more than one.
fn epochs(graph: &ResolvedGraph) -> Option<u64> {
    let mut all = graph.stages.iter().filter(|stage| stage.settings.get("epochs").is_some());
    let epochs = all.next()?.settings.integer("epochs");
    (all.next().is_none() && epochs > 1).then_some(epochs)
}
