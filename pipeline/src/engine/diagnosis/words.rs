//! The words of a diagnosis.

use super::facts::Facts;
use super::finding::{Bottleneck, Change, Edit, Reason};
use super::load::{Load, Then};
use super::steady::{LEAST_ITEMS, LEAST_SECONDS, Untold};

/// The diagnosis of a run that was too short.
pub(super) fn too_short(found: &Untold) -> Bottleneck {
    let why = match found {
        Untold::Short(seconds) => format!(
            "the run is too short to tell: {seconds:.2} s lie behind its warm-up, and at least {LEAST_SECONDS} s are needed"
        ),
        _ => "the run is too short to tell: its warm-up is not over until a stage at the end has received two items"
            .to_owned(),
    };
    untold(Reason::TooShort, why, "let the graph run longer, on more data".to_owned())
}

/// The diagnosis of a run that was long enough and still does not tell its limit.
pub(super) fn undecided(facts: &Facts<'_>, found: &Untold) -> Bottleneck {
    match found {
        Untold::FewItems(stage, items) => {
            let name = facts.stages[*stage].name;
            let why = format!(
                "the run is too short to tell: {items} items passed `{name}` after its warm-up, and at least {LEAST_ITEMS} are needed"
            );
            untold(Reason::TooShort, why, "let the graph run longer, on more data".to_owned())
        }
        Untold::Uneven(unit, agree, parts) => {
            let why = format!(
                "the run is too uneven to tell: over its whole time {} works the most, but in {} of {parts} parts of it another stage does",
                unit_name(facts, *unit),
                parts - agree
            );
            untold(Reason::TooUneven, why, "watch it for longer, or look at one of its parts".to_owned())
        }
        other => too_short(other),
    }
}

fn untold(reason: Reason, why: String, advice: String) -> Bottleneck {
    Bottleneck { stage: None, reason, why, advice, edit: None, at_most: None }
}

/// The diagnosis of a run whose limit a key of the graph raises.
pub(super) fn edit(facts: &Facts<'_>, load: &Load<'_>, reason: Reason, change: Change) -> Bottleneck {
    let Change { edit, at_most } = change;
    let room = load.room(facts.cores);
    let then = if at_most < room.times { String::new() } else { then(facts, room.then) };
    let advice = format!("{edit}: up to {}{then}", times(at_most));
    found(facts, load, reason, advice, Some(edit), at_most)
}

/// The diagnosis of a run whose limiting unit has no key that makes it faster.
pub(super) fn no_edit(facts: &Facts<'_>, load: &Load<'_>, reason: Reason, limit: usize) -> Bottleneck {
    let name = unit_name(facts, limit);
    let room = load.room(facts.cores);
    let what = match reason {
        Reason::Reads => {
            format!("{name} is a source: only a faster place to read from, or less to read, helps")
        }
        Reason::Writes => format!("{name} writes: only a faster place to write to, or less to write, helps"),
        Reason::WaitsOutside => format!("no key of {name} helps: what it waits for must become faster"),
        _ => format!("no key of {name} helps: it needs less work for each item, or a faster machine"),
    };
    let gain = if room.times >= WORTH_A_WORD {
        format!(", which brings up to {}{}", times(room.times), then(facts, room.then))
    } else {
        format!("; that brings nothing by itself{}", then(facts, room.then))
    };
    let (input, _) = load.waits(facts, limit);
    let reading = if facts.edges.iter().any(|edge| load.enters(facts, edge, limit)) {
        let gain = times(1.0 / (1.0 - input.min(0.99)));
        format!(
            ". It waits for input {} of the time: faster stages before it bring at most {gain}",
            percent(input)
        )
    } else {
        String::new()
    };
    found(facts, load, reason, what + &gain + &reading, None, room.times)
}

/// The diagnosis of a run in which no unit works all the time.
pub(super) fn uneven(
    facts: &Facts<'_>,
    load: &Load<'_>,
    reason: Reason,
    change: Option<Change>,
) -> Bottleneck {
    let used = load.used[load.limiting];
    match change {
        Some(Change { edit, at_most }) => {
            let advice = format!(
                "{edit}: up to {}. Items come and go unevenly at the output of `{}`, which waits for room and is waited \
                 for in turn; more room evens that out",
                times(at_most),
                edit.stage
            );
            found(facts, load, reason, advice, Some(edit), at_most)
        }
        None => {
            let at_most = 1.0 / used.max(0.01);
            let side = if reason == Reason::Starved { "before" } else { "behind" };
            let advice = format!(
                "no key helps by itself: {} would bring up to {} if the stages {side} it kept up with it all the time",
                unit_name(facts, load.limiting),
                times(at_most)
            );
            found(facts, load, reason, advice, None, at_most)
        }
    }
}

/// The diagnosis of a run whose threads wait for cores.
pub(super) fn too_few_cores(facts: &Facts<'_>, load: &Load<'_>) -> Bottleneck {
    let highest = (0..load.used.len()).map(|unit| load.alone(unit)).fold(0.0, f64::max);
    let at_most = (1.0 / highest.max(0.01)).max(1.0);
    let used = load.cores_used.unwrap_or(facts.cores as f64);
    let gain = times(at_most);
    // Where this program leaves cores over and still waits for them, others have them.
    let advice = if load.wants_more_cores(facts.cores) {
        let cores = (used * at_most).ceil().max(facts.cores as f64 + 1.0);
        format!("no key helps: the cores are used up. A machine with {cores:.0} cores brings up to {gain}")
    } else {
        format!("no key helps: other programs have the cores. Without them the run is up to {gain} as fast")
    };
    let mut bottleneck = found(facts, load, Reason::TooFewCores, advice, None, at_most);
    bottleneck.why += &format!("; the process uses {used:.1} of {} cores", facts.cores);
    bottleneck
}

/// The gain that is worth a word.
const WORTH_A_WORD: f64 = 1.02;

fn found(
    facts: &Facts<'_>,
    load: &Load<'_>,
    reason: Reason,
    advice: String,
    edit: Option<Edit>,
    at_most: f64,
) -> Bottleneck {
    let stage = facts.stages[load.busiest_stage(facts, load.limiting)].name.to_owned();
    let why = why(facts, load, reason);
    // A run of one stage could be as fast as anybody likes, which is not a number for JSON.
    let at_most = at_most.is_finite().then_some(at_most);
    Bottleneck { stage: Some(stage), reason, why, advice, edit, at_most }
}

/// What was observed: how much the limiting unit works, whether that is on a core, and who waits for it.
fn why(facts: &Facts<'_>, load: &Load<'_>, reason: Reason) -> String {
    let limit = load.limiting;
    let used = percent(load.used[limit]);
    let mut why = if facts.units.stages[limit].len() == 1 {
        format!("{} works {used} of the time", unit_name(facts, limit))
    } else {
        let busiest = load.busiest_stage(facts, limit);
        let (name, share) = (facts.stages[busiest].name, percent(load.busy_share(busiest)));
        format!("{} works {used} of the time, `{name}` alone {share}", unit_name(facts, limit))
    };
    if let Some(on_core) = load.on_core[limit] {
        let share = percent(on_core);
        why += &match reason {
            Reason::Reads => format!(", but only {share} of that on a core: it waits for what it reads"),
            Reason::Writes => format!(", but only {share} of that on a core: it waits for what it writes"),
            Reason::WaitsOutside => {
                format!(
                    ", but only {share} of that on a core: it waits for a file, a device or another program"
                )
            }
            Reason::TooFewCores => format!(
                ", {share} of that on a core{}",
                load.queued[limit]
                    .map_or(String::new(), |queued| format!(" and {} waiting for one", percent(queued)))
            ),
            _ => format!(", {share} of that on a core"),
        };
    }
    let seconds = load.window.seconds;
    let edges = || facts.edges.iter().zip(&load.window.edges);
    let into = edges().filter(|(edge, _)| load.enters(facts, edge, limit));
    if let Some((edge, now)) = into.max_by(|a, b| a.1.output_wait.total_cmp(&b.1.output_wait)) {
        let (name, share) = (facts.stages[edge.from].name, percent(now.output_wait / seconds));
        why += &format!("; before it, `{name}` waits for room {share} of the time");
    }
    let out = edges().filter(|(edge, _)| load.leaves(facts, edge, limit));
    if let Some((edge, now)) = out.max_by(|a, b| a.1.input_wait.total_cmp(&b.1.input_wait)) {
        let (name, share) = (facts.stages[edge.to].name, percent(now.input_wait / seconds));
        why += &format!("; behind it, `{name}` waits for input {share} of the time");
    }
    why
}

/// The name of a unit in a sentence.
fn unit_name(facts: &Facts<'_>, unit: usize) -> String {
    let stages = &facts.units.stages[unit];
    match stages[..] {
        [stage] => format!("`{}`", facts.stages[stage].name),
        [first, .., last] => {
            format!("the loop of `{}` to `{}`", facts.stages[first].name, facts.stages[last].name)
        }
        [] => "nothing".to_owned(),
    }
}

fn then(facts: &Facts<'_>, then: Then) -> String {
    match then {
        Then::Unit(unit) => format!(", then {} is the limit", unit_name(facts, unit)),
        Then::Cores => ", then the cores are the limit".to_owned(),
        Then::Nothing => String::new(),
    }
}

fn percent(share: f64) -> String {
    let share = share.clamp(0.0, 1.0) * 100.0;
    if share > 0.0 && share < 10.0 { format!("{share:.1}%") } else { format!("{share:.0}%") }
}

fn times(factor: f64) -> String {
    match factor {
        _ if !factor.is_finite() || factor > 100.0 => "more than 100×".to_owned(),
        _ if factor >= 10.0 => format!("{factor:.0}×"),
        _ if factor >= 1.1 => format!("{factor:.1}×"),
        _ => format!("{factor:.2}×"),
    }
}
