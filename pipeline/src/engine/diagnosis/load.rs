//! The load: how busy the units of a graph were in a window, and how much faster the rest could go.

use super::super::reading::Reading;
use super::facts::{EdgeFacts, Facts};
use crate::edge::meter::StageReading;

/// The share of the cores' time from which on the cores count as used up.
const CORES_USED_UP: f64 = 0.85;

/// The share of its working time that a unit must wait for cores before they count as too few.
const QUEUED: f64 = 0.25;

/// The load of the units in a window.
pub(super) struct Load<'a> {
    pub(super) window: &'a Reading,
    /// The share of the window in which each unit worked.
    pub(super) used: Vec<f64>,
    /// The share of its working time for which each unit was on a core. `None` where the operating system does not
    /// tell, or where the unit did not work.
    pub(super) on_core: Vec<Option<f64>>,
    /// The share of its working time for which each unit's threads waited for a core. `None` as above.
    pub(super) queued: Vec<Option<f64>>,
    /// The number of cores that the process used, on average.
    pub(super) cores_used: Option<f64>,
    /// The number of cores that would be in use if every thread that works had one.
    wants: f64,
    /// The unit that works for the largest share of the window.
    pub(super) limiting: usize,
}

/// How many times as fast a run could be if its limiting unit took no time, and what limits it then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Room {
    pub(super) times: f64,
    pub(super) then: Then,
}

/// What limits a run after its first limit is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Unit(usize),
    Cores,
    Nothing,
}

impl<'a> Load<'a> {
    pub(super) fn of(facts: &Facts<'_>, window: &'a Reading) -> Self {
        let used: Vec<f64> = window.units.iter().map(|busy| busy / window.seconds).collect();
        // The share of a unit's working time for which its threads did something: its own ones, and those that it started.
        let share = |own: fn(&StageReading) -> Option<f64>, helpers: &Option<Vec<f64>>, unit: &Vec<usize>| {
            let busy: f64 = unit.iter().map(|&stage| window.stages[stage].busy).sum();
            let mut sum = 0.0;
            for &stage in unit {
                sum += own(&window.stages[stage])?;
                sum += helpers.as_ref()?[stage] / facts.stages[stage].workers as f64;
            }
            (busy > 0.0).then(|| (sum / busy).min(1.0))
        };
        let on_core_helpers = helpers(facts, window, window.cpu, |stage| stage.cpu);
        let queued_helpers = helpers(facts, window, window.queued, |stage| stage.queued);
        let units = &facts.units.stages;
        let on_core: Vec<_> =
            units.iter().map(|unit| share(|stage| stage.cpu, &on_core_helpers, unit)).collect();
        let queued = units.iter().zip(&on_core).map(|(unit, on_core)| {
            // Several threads of a unit may wait at the same time.
            let most = 1.0 - on_core.unwrap_or(0.0);
            share(|stage| stage.queued, &queued_helpers, unit).map(|queued| queued.min(most))
        });
        let threads = |stage: usize| facts.stages[stage].workers as f64;
        let wants = (0..facts.stages.len()).map(|stage| window.stages[stage].busy * threads(stage));
        Self {
            window,
            queued: queued.collect(),
            on_core,
            cores_used: window.cpu.map(|cpu| cpu / window.seconds),
            wants: wants.sum::<f64>() / window.seconds,
            limiting: highest(&used).unwrap_or(0),
            used,
        }
    }

    /// Whether the threads that work want more cores than there are, and use up those that there are.
    pub(super) fn wants_more_cores(&self, cores: usize) -> bool {
        let cores = cores as f64;
        self.wants > cores && self.cores_used.is_some_and(|used| used >= CORES_USED_UP * cores)
    }

    /// Whether the limiting unit is off the core mostly because other threads, of this program or of others, have it.
    pub(super) fn waits_for_a_core(&self) -> bool {
        match (self.on_core[self.limiting], self.queued[self.limiting]) {
            (Some(on_core), Some(queued)) => queued > (1.0 - on_core - queued).max(QUEUED),
            _ => false,
        }
    }

    /// The share of the window in which a unit would work if its threads always had a core.
    pub(super) fn alone(&self, unit: usize) -> f64 {
        let share = match (self.queued[unit], self.on_core[unit]) {
            (Some(queued), _) => 1.0 - queued,
            (None, Some(on_core)) => on_core,
            (None, None) => 1.0,
        };
        self.used[unit] * share
    }

    /// How many times as fast the run could be if its limiting unit took no time.
    pub(super) fn room(&self, cores: usize) -> Room {
        let others = (0..self.used.len()).filter(|&unit| unit != self.limiting);
        let next = others.max_by(|a, b| self.used[*a].total_cmp(&self.used[*b]));
        let mut room = Room { times: f64::INFINITY, then: Then::Nothing };
        if let Some(next) = next.filter(|&next| self.used[next] > 0.0) {
            room = Room { times: 1.0 / self.used[next], then: Then::Unit(next) };
        }
        if let Some(used) = self.cores_used.filter(|used| *used > 0.0)
            && cores as f64 / used < room.times
        {
            room = Room { times: cores as f64 / used, then: Then::Cores };
        }
        Room { times: room.times.max(1.0), ..room }
    }

    /// How many times as fast the run could be if its limiting unit worked all the time and no core stood idle for want of
    /// work, and whether it is the cores that bound it.
    pub(super) fn pace(&self, cores: usize) -> (f64, bool) {
        let unit = self.used[self.limiting];
        let of_cores = self.cores_used.map_or(0.0, |used| used / cores as f64);
        (1.0 / unit.max(of_cores).clamp(0.01, 1.0), of_cores > unit)
    }

    /// The share of the window in which a stage worked.
    pub(super) fn busy_share(&self, stage: usize) -> f64 {
        self.window.stages[stage].busy / self.window.seconds
    }

    /// The stage of a unit that works the most.
    pub(super) fn busiest_stage(&self, facts: &Facts<'_>, unit: usize) -> usize {
        let stages = &facts.units.stages[unit];
        let shares: Vec<f64> = stages.iter().map(|&stage| self.busy_share(stage)).collect();
        stages[highest(&shares).unwrap_or(0)]
    }

    /// The shares of the window for which a unit waits for input from outside and for room outside.
    pub(super) fn waits(&self, facts: &Facts<'_>, unit: usize) -> (f64, f64) {
        let mut waits = (0.0, 0.0);
        for (edge, now) in facts.edges.iter().zip(&self.window.edges) {
            if self.enters(facts, edge, unit) {
                waits.0 += now.input_wait / self.window.seconds;
            }
            if self.leaves(facts, edge, unit) {
                waits.1 += now.output_wait / self.window.seconds;
            }
        }
        waits
    }

    /// Whether an edge leads into a unit from outside.
    pub(super) fn enters(&self, facts: &Facts<'_>, edge: &EdgeFacts, unit: usize) -> bool {
        facts.units.of_stage[edge.to] == unit && !self.inside_a_unit(facts, edge)
    }

    /// Whether an edge leads out of a unit.
    pub(super) fn leaves(&self, facts: &Facts<'_>, edge: &EdgeFacts, unit: usize) -> bool {
        facts.units.of_stage[edge.from] == unit && !self.inside_a_unit(facts, edge)
    }

    /// Whether an edge joins two stages of one unit.
    pub(super) fn inside_a_unit(&self, facts: &Facts<'_>, edge: &EdgeFacts) -> bool {
        facts.units.of_stage[edge.from] == facts.units.of_stage[edge.to]
    }
}

/// The place of the highest value, the first of several.
fn highest(values: &[f64]) -> Option<usize> {
    (0..values.len()).rev().max_by(|a, b| values[*a].total_cmp(&values[*b]))
}

/// The seconds for which threads that the stages started were on a core, or in the queue for one, by stage.
///
/// Only the sum over all threads of the process is known, `all`, and `own` for the stages' own threads. Stages with
/// several workers take of the rest first, at most their workers for as long as their own threads were off the core. What
/// is left then goes to the other stages in proportion to the time for which they worked off the core.
fn helpers(
    facts: &Facts<'_>,
    window: &Reading,
    all: Option<f64>,
    own: fn(&StageReading) -> Option<f64>,
) -> Option<Vec<f64>> {
    let own: Option<Vec<f64>> = window.stages.iter().map(own).collect();
    let mut left = (all? - own?.iter().sum::<f64>()).max(0.0);
    let off: Option<Vec<f64>> =
        window.stages.iter().map(|stage| Some((stage.busy - stage.cpu?).max(0.0))).collect();
    let off = off?;
    let mut helpers = vec![0.0; off.len()];
    let has_workers = |stage: usize| facts.stages[stage].workers > 1;
    for stage in (0..off.len()).filter(|&stage| has_workers(stage)) {
        helpers[stage] = left.min(off[stage] * facts.stages[stage].workers as f64);
        left -= helpers[stage];
    }
    let rest: f64 = (0..off.len()).filter(|&stage| !has_workers(stage)).map(|stage| off[stage]).sum();
    for stage in (0..off.len()).filter(|&stage| !has_workers(stage) && rest > 0.0) {
        helpers[stage] = left * off[stage] / rest;
    }
    Some(helpers)
}
