//! The service of the stages of a run: the time that each needs for an item, and how fast the run can be with it.
//!
//! Law: a unit passes at most 1 / s items a second, where s is the time for which it works for an item. The threads of all
//! units together have at most as much time on cores as there are cores. The rate of the run is at most the least of these
//! bounds.

use super::super::reading::Reading;
use super::facts::Facts;
use super::finding::Bottleneck;
use super::load::Load;
use super::steady::Steady;
use super::words;

/// The service of the stages in the steady part of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// What happened in the steady part.
    pub window: Reading,
    /// How many times as fast as in the steady part the run could be at most with its settings, at least 1.
    pub pace: f64,
    /// The stage whose unit bounds the rate. `None` where the cores do.
    pub limit: Option<usize>,
}

impl Service {
    /// The seconds for which a stage works for an item that it takes or, at a source, sends. A stage with several workers
    /// works on several items at the same time. `None` where no item passed.
    pub fn seconds_per_item(&self, stage: usize) -> Option<f64> {
        let items = self.items(stage);
        (items > 0).then(|| self.window.stages[stage].busy / items as f64)
    }

    /// The items that a stage took or, at a source, sent.
    pub fn items(&self, stage: usize) -> u64 {
        let stage = &self.window.stages[stage];
        if stage.items_in > 0 { stage.items_in } else { stage.items_out }
    }

    /// The share of the time for which a stage worked.
    pub fn busy(&self, stage: usize) -> f64 {
        self.window.stages[stage].busy / self.window.seconds
    }
}

/// The service of the stages of a run.
///
/// # Errors
/// The finding that the run was too short or too uneven to tell.
pub(crate) fn service(facts: &Facts<'_>) -> Result<Service, Box<Bottleneck>> {
    let steady = Steady::of(facts).map_err(|found| words::too_short(&found))?;
    let load = Load::of(facts, &steady.window);
    steady.check(facts, load.limiting).map_err(|found| words::undecided(facts, &found))?;
    let (pace, by_cores) = load.pace(facts.cores);
    let limit = (!by_cores).then(|| load.busiest_stage(facts, load.limiting));
    Ok(Service { window: steady.window.clone(), pace, limit })
}
