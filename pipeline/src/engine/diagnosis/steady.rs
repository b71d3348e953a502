//! The steady part of a run: the window between its warm-up and its last reading.
//!
//! Law: warm-up ends when a stage that sends nothing on has received its second item, because by then every stage on
//! the way to it has worked.

use std::sync::Arc;

use super::super::reading::Reading;
use super::facts::Facts;

/// The least length of the steady part, in seconds.
pub const LEAST_SECONDS: f64 = 0.5;
/// The least number of readings in the steady part.
pub const LEAST_READINGS: usize = 5;
/// The least number of items that pass the limiting unit in the steady part.
pub const LEAST_ITEMS: u64 = 5;

/// The number of parts of the steady window that must agree on the limiting unit.
const PARTS: usize = 4;
/// The share of the highest load in a part from which on a unit counts as one that limits there.
const NEAR_THE_HIGHEST: f64 = 0.8;

/// The steady part of a run.
pub(super) struct Steady {
    /// What happened in it.
    pub(super) window: Reading,
    parts: Vec<Reading>,
}

/// The finding that a run does not tell its limit.
#[derive(Debug, PartialEq)]
pub(super) enum Untold {
    /// No end of the warm-up was seen.
    WarmUpOnly,
    /// The steady part is that short, in seconds.
    Short(f64),
    /// So few items passed the stage with this index.
    FewItems(usize, u64),
    /// The parts of the run have the unit with this index as their limit in so few of so many parts.
    Uneven(usize, usize, usize),
}

impl Steady {
    /// Cuts the warm-up off.
    pub(super) fn of(facts: &Facts<'_>) -> Result<Self, Untold> {
        let sends = |stage: usize| facts.edges.iter().any(|edge| edge.from == stage);
        let sinks: Vec<usize> = (0..facts.stages.len()).filter(|&stage| !sends(stage)).collect();
        let is_warm = |reading: &Arc<Reading>| sinks.iter().any(|&sink| reading.stages[sink].items_in >= 2);
        let begin = facts.history.iter().position(is_warm).ok_or(Untold::WarmUpOnly)?;
        let steady = &facts.history[begin..];
        let window = facts.last.since(&steady[0]);
        if window.seconds < LEAST_SECONDS || steady.len() < LEAST_READINGS {
            return Err(Untold::Short(window.seconds));
        }
        let ends = (0..=PARTS).map(|part| match part {
            PARTS => facts.last,
            _ => &*steady[part * steady.len() / PARTS],
        });
        let ends: Vec<&Reading> = ends.collect();
        let parts = ends.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        Ok(Self { window, parts })
    }

    /// Checks that the window tells that the unit `limiting` is the limit.
    pub(super) fn check(&self, facts: &Facts<'_>, limiting: usize) -> Result<(), Untold> {
        let stages = &facts.units.stages[limiting];
        let items = |stage: usize| {
            let stage = &self.window.stages[stage];
            stage.items_in.max(stage.items_out)
        };
        let most = stages.iter().copied().max_by_key(|&stage| items(stage));
        if let Some(stage) = most.filter(|&stage| items(stage) < LEAST_ITEMS) {
            return Err(Untold::FewItems(stage, items(stage)));
        }
        let limits_in = |part: &&Reading| {
            let highest = part.units.iter().copied().fold(0.0, f64::max);
            part.units[limiting] >= NEAR_THE_HIGHEST * highest
        };
        let agree = self.parts.iter().filter(limits_in).count();
        if agree * 2 <= self.parts.len() {
            return Err(Untold::Uneven(limiting, agree, self.parts.len()));
        }
        Ok(())
    }
}
