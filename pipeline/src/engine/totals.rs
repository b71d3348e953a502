//! The totals of a graph over all of its runs in a process. A graph that is run again and again inside a run, as an
//! evaluation is, counts on from where its last run stopped.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::reading::Reading;

/// The sums of a reading that only grow: by stage and by edge, in the order of the graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) stages: Vec<StageTotals>,
    pub(crate) edges: Vec<EdgeTotals>,
}

/// The sums of a stage. Times are in seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StageTotals {
    pub(crate) items_in: u64,
    pub(crate) items_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) busy: f64,
    pub(crate) input_wait: f64,
    pub(crate) output_wait: f64,
    pub(crate) ended: f64,
    pub(crate) rejected: BTreeMap<&'static str, u64>,
}

/// The sums of an edge, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct EdgeTotals {
    pub(crate) input_wait: f64,
    pub(crate) output_wait: f64,
}

/// What the runs of one graph that have ended came to. Give it to each run of a graph that is run more than once.
#[derive(Debug, Default)]
pub struct Earlier(Mutex<Totals>);

impl Earlier {
    /// The totals of the runs that have ended and of a reading of the present run.
    pub(crate) fn and(&self, now: &Reading) -> Totals {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).plus(now)
    }

    /// Counts a run that has ended.
    pub(crate) fn count(&self, last: &Reading) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *totals = totals.plus(last);
    }
}

impl Totals {
    fn plus(&self, now: &Reading) -> Self {
        let before = |stage: usize| self.stages.get(stage).cloned().unwrap_or_default();
        let stages = now.stages.iter().enumerate().map(|(index, stage)| {
            let mut total = before(index);
            total.items_in += stage.items_in;
            total.items_out += stage.items_out;
            total.bytes_in += stage.bytes_in;
            total.bytes_out += stage.bytes_out;
            total.busy += stage.busy;
            total.input_wait += stage.input_wait;
            total.output_wait += stage.output_wait;
            total.ended += now.ended(index);
            for (reason, count) in &stage.rejected {
                *total.rejected.entry(reason).or_default() += count;
            }
            total
        });
        let before = |edge: usize| self.edges.get(edge).copied().unwrap_or_default();
        let edges = now.edges.iter().enumerate().map(|(index, edge)| EdgeTotals {
            input_wait: before(index).input_wait + edge.input_wait,
            output_wait: before(index).output_wait + edge.output_wait,
        });
        Self { stages: stages.collect(), edges: edges.collect() }
    }
}
