//! Cycles in a graph.
//!
//! Law: a cycle can start only when one of its edges leaves a delayed output. Every other cycle is an error.

use super::draft::Draft;
use super::edges::DraftEdge;
use crate::graph::read::loading::Loading;
use crate::graph::report::diagnostic::Diagnostic;
use crate::graph::report::words;

/// The stages in topological order over the edges that are not delayed. Cycles among these edges are reported, and the
/// stages in such cycles are left out.
pub(crate) fn order(stages: &[Draft<'_>], edges: &[DraftEdge], loading: &mut Loading<'_>) -> Vec<usize> {
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); stages.len()];
    let mut before: Vec<Vec<&DraftEdge>> = vec![Vec::new(); stages.len()];
    for edge in edges.iter().filter(|e| !e.delayed && e.fits) {
        after[edge.from.0].push(edge.to.0);
        before[edge.to.0].push(edge);
    }
    let mut waiting: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut done = vec![false; stages.len()];
    let mut order = Vec::with_capacity(stages.len());
    let mut ready: Vec<usize> = (0..stages.len()).rev().filter(|&i| waiting[i] == 0).collect();
    loop {
        while let Some(stage) = ready.pop() {
            if !std::mem::replace(&mut done[stage], true) {
                order.push(stage);
                release(stage, &after, &mut waiting, &done, &mut ready);
            }
        }
        let Some(start) = done.iter().position(|d| !d) else { return order };
        let cycle = cycle(start, &before, &done);
        debug_assert!(!cycle.is_empty(), "a stage that waits waits for another one");
        if cycle.is_empty() {
            return order;
        }
        report(stages, &cycle, loading);
        // The search continues as if the cycle were complete, to find the other cycles.
        for edge in &cycle {
            done[edge.to.0] = true;
        }
        for edge in &cycle {
            release(edge.to.0, &after, &mut waiting, &done, &mut ready);
        }
    }
}

fn release(stage: usize, after: &[Vec<usize>], waiting: &mut [usize], done: &[bool], ready: &mut Vec<usize>) {
    for &next in &after[stage] {
        waiting[next] = waiting[next].saturating_sub(1);
        if waiting[next] == 0 && !done[next] {
            ready.push(next);
        }
    }
}

/// Finds a cycle by walking upstream from a stage that waits. Every such stage waits for another one.
fn cycle<'e>(start: usize, before: &[Vec<&'e DraftEdge>], done: &[bool]) -> Vec<&'e DraftEdge> {
    let mut seen = vec![None; before.len()];
    let mut path: Vec<&DraftEdge> = Vec::new();
    let mut at = start;
    while seen[at].is_none() {
        seen[at] = Some(path.len());
        let Some(edge) = before[at].iter().find(|e| !done[e.from.0]) else { return Vec::new() };
        path.push(edge);
        at = edge.from.0;
    }
    let mut cycle = path.split_off(seen[at].unwrap_or(0));
    // The cycle is given in downstream order, beginning with the stage that stands first in the file.
    cycle.reverse();
    let first = cycle.iter().enumerate().min_by_key(|(_, e)| e.from.0).map_or(0, |(i, _)| i);
    cycle.rotate_left(first);
    cycle
}

fn report(stages: &[Draft<'_>], cycle: &[&DraftEdge], loading: &mut Loading<'_>) {
    let (Some(first), Some(last)) = (cycle.first(), cycle.last()) else { return };
    let name = |index: usize| stages[index].name.as_str();
    let message = if cycle.len() == 1 {
        format!("stage {} feeds itself", words::name(name(first.from.0)))
    } else {
        let mut path: Vec<&str> = cycle.iter().map(|e| name(e.from.0)).collect();
        path.push(name(first.from.0));
        format!("these stages wait for each other: {}", shortened(&path))
    };
    let mut diagnostic = Diagnostic::error(last.place, message).label("closes the cycle");
    for edge in cycle.iter().take(cycle.len() - 1).take(8) {
        diagnostic = diagnostic.also(edge.place, "waits here");
    }
    let delayed = stages.iter().flat_map(|stage| {
        let ports = stage.ports.outputs.iter().filter(|o| o.delayed);
        ports.map(|o| format!("{}.{}", stage.name, o.name))
    });
    let delayed: Vec<String> = delayed.collect();
    let help = "a cycle must pass through a delayed output, which sends before it receives";
    loading.report.push(if delayed.is_empty() {
        diagnostic.help(format!("{help}; no stage of this graph has one"))
    } else {
        diagnostic.help(format!("{help}, such as {}", words::list(delayed.iter().map(String::as_str), "or")))
    });
}

fn shortened(path: &[&str]) -> String {
    if path.len() <= 24 {
        return path.join(" → ");
    }
    format!("{} → … → {}", path[..12].join(" → "), path[path.len() - 11..].join(" → "))
}
