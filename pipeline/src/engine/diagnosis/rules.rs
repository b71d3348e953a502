//! The rules by which a limit is found: which unit, for which reason, and what to change.

use super::facts::{Facts, StageFacts};
use super::finding::{Bottleneck, Change, Edit, Reason};
use super::load::Load;
use super::steady::Steady;
use super::words;

/// The share of the time from which on a unit counts as one that works all the time.
const WORKS_ALL_THE_TIME: f64 = 0.8;
/// The share of its working time that a unit which computes spends on a core at least.
const ON_CORE: f64 = 0.5;
/// The share of its working time on a core up to which a worker counts as one that waits.
const HARDLY_ON_CORE: f64 = 0.2;
/// The share of the time for which both ends of an edge wait for each other before its capacity is to blame.
const BOTH_WAIT: f64 = 0.05;
/// The least gain that is worth an edit.
const WORTH: f64 = 1.05;
/// How many times as much room an uneven edge is given.
const MORE_ROOM: u64 = 8;

/// Says what limits a run.
pub(crate) fn diagnose(facts: &Facts<'_>) -> Bottleneck {
    let steady = match Steady::of(facts) {
        Ok(steady) => steady,
        Err(found) => return words::too_short(&found),
    };
    let load = Load::of(facts, &steady.window);
    if let Err(found) = steady.check(facts, load.limiting) {
        return words::undecided(facts, &found);
    }
    let limit = load.limiting;
    let reason = reason(facts, &load);
    match reason {
        Reason::TooFewCores => words::too_few_cores(facts, &load),
        Reason::Starved | Reason::HeldUp => words::uneven(facts, &load, reason, more_room(facts, &load)),
        _ => match more_workers(facts, &load) {
            Some(change) => words::edit(facts, &load, reason, change),
            None => words::no_edit(facts, &load, reason, limit),
        },
    }
}

fn reason(facts: &Facts<'_>, load: &Load<'_>) -> Reason {
    let limit = load.limiting;
    if load.wants_more_cores(facts.cores) {
        return Reason::TooFewCores;
    }
    if load.used[limit] >= WORKS_ALL_THE_TIME && load.waits_for_a_core() {
        return Reason::TooFewCores;
    }
    if load.used[limit] < WORKS_ALL_THE_TIME {
        let (input, output) = load.waits(facts, limit);
        return if input >= output { Reason::Starved } else { Reason::HeldUp };
    }
    let receives = facts.edges.iter().any(|edge| load.enters(facts, edge, limit));
    let sends = facts.edges.iter().any(|edge| load.leaves(facts, edge, limit));
    match load.on_core[limit] {
        Some(on_core) if on_core < ON_CORE => match (receives, sends) {
            (false, _) => Reason::Reads,
            (_, false) => Reason::Writes,
            _ => Reason::WaitsOutside,
        },
        _ => Reason::Computes,
    }
}

/// More workers for the busiest stage of the limiting unit, if it can have more and that is worth it.
fn more_workers(facts: &Facts<'_>, load: &Load<'_>) -> Option<Change> {
    let limit = load.limiting;
    let stage = load.busiest_stage(facts, limit);
    let StageFacts { name, workers, most_workers } = &facts.stages[stage];
    let room = load.room(facts.cores).times;
    // A worker that is hardly ever on a core needs none of its own. Of several workers it is not known whether they wait
    // for something or for a core.
    let needs_none = *workers == 1 && load.on_core[limit].is_some_and(|on_core| on_core < HARDLY_ON_CORE);
    let cores = facts.cores as u64 * if needs_none { 4 } else { 1 };
    let wanted = (*workers as f64 * load.used[limit] * room).ceil() as u64;
    let new = wanted.min(cores).min((*most_workers)?);
    if new <= *workers {
        return None;
    }
    // Only the stage's own part of the unit's time gets shorter.
    let saved = load.busy_share(stage) * (1.0 - *workers as f64 / new as f64);
    let at_most = room.min(1.0 / (load.used[limit] - saved));
    let edit = Edit { stage: (*name).to_owned(), key: "workers", value: new };
    (at_most >= WORTH).then_some(Change { edit, at_most })
}

/// More room for the edge at which both ends wait for each other the most, if there is such an edge.
fn more_room(facts: &Facts<'_>, load: &Load<'_>) -> Option<Change> {
    let both_wait = |edge: usize| {
        let now = &load.window.edges[edge];
        now.input_wait.min(now.output_wait) / load.window.seconds
    };
    let edges = (0..facts.edges.len()).filter(|&edge| !load.inside_a_unit(facts, &facts.edges[edge]));
    let edge = edges.max_by(|a, b| both_wait(*a).total_cmp(&both_wait(*b)))?;
    let at_most = 1.0 / load.used[load.limiting];
    if both_wait(edge) < BOTH_WAIT || at_most < WORTH {
        return None;
    }
    let now = &load.window.edges[edge];
    let fill = |sum: u64, limit: usize| sum as f64 / limit.max(1) as f64;
    let by_bytes = fill(now.bytes_sum, now.limits.bytes) > fill(now.items_sum, now.limits.items);
    let (key, limit) =
        if by_bytes { ("capacity_bytes", now.limits.bytes) } else { ("capacity", now.limits.items) };
    let value = (limit as u64).saturating_mul(MORE_ROOM);
    let stage = facts.stages[facts.edges[edge].from].name.to_owned();
    Some(Change { edit: Edit { stage, key, value }, at_most })
}
