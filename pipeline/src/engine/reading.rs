//! The reading: what a whole run has done up to one moment. Everything that is shown of a run is a function of one
//! reading (since the run began) or of two (a window).
//!
//! Law: in each reading, the times of a stage (busy, waiting for input, waiting for room, ended) add up to the time
//! since the run began. All clocks are read at the same moment.

use crate::edge::channel::EdgeLimits;
use crate::edge::meter::{Activity, StageReading, StageState};

/// A reading of a run, or the difference of two of them. All times are in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The time since the run began. In a window, the length of the window.
    pub seconds: f64,
    /// The time that all threads of the process have spent on a core since the run began. `None` where the operating
    /// system does not tell.
    pub cpu: Option<f64>,
    /// The time for which threads of the process could have run and had no core, added up since the run began. It is
    /// looked up a few times a second at most. `None` where the operating system does not tell.
    pub queued: Option<f64>,
    /// The stages, in the order of the graph.
    pub stages: Vec<StageReading>,
    /// What each stage is doing.
    pub states: Vec<StageState>,
    /// The edges, in the order of the monitor's edges.
    pub edges: Vec<EdgeReading>,
    /// The time in which any stage of a unit was busy, by unit.
    pub units: Vec<f64>,
}

/// A reading of an edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdgeReading {
    /// The packets in the edge.
    pub items: usize,
    /// The payload bytes in the edge.
    pub bytes: usize,
    /// The bounds of the edge.
    pub limits: EdgeLimits,
    /// Seconds for which the producer has waited for room in this edge.
    pub output_wait: f64,
    /// Seconds for which the consumer has waited for an item from this edge.
    pub input_wait: f64,
    /// The number of samples that were taken of the depth.
    pub samples: u64,
    /// The sum of the packets over the samples.
    pub items_sum: u64,
    /// The sum of the bytes over the samples.
    pub bytes_sum: u64,
}

/// The shares of a stage in the time of the run, each from 0 to 1. Their sum is 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Shares {
    /// The share in which the stage's thread was in the stage's own code.
    pub busy: f64,
    /// The share in which it waited for input.
    pub input_wait: f64,
    /// The share in which it waited for room in an output.
    pub output_wait: f64,
    /// The share in which it had ended.
    pub ended: f64,
}

impl Reading {
    /// Seconds since a stage ended; 0 while it runs. A stage that has not begun counts as one that has ended.
    pub fn ended(&self, stage: usize) -> f64 {
        match self.states[stage].activity {
            Activity::Idle | Activity::Done => (self.seconds - self.stages[stage].wall()).max(0.0),
            _ => 0.0,
        }
    }

    /// The shares of a stage in the time of the run.
    pub fn shares(&self, stage: usize) -> Shares {
        let of = &self.stages[stage];
        let share = |seconds: f64| if self.seconds > 0.0 { seconds / self.seconds } else { 0.0 };
        Shares {
            busy: share(of.busy),
            input_wait: share(of.input_wait),
            output_wait: share(of.output_wait),
            ended: share(self.ended(stage)),
        }
    }

    /// What has happened since `earlier`, which is an earlier reading of the same run. Depths and states are those of
    /// this reading.
    #[must_use]
    pub fn since(&self, earlier: &Reading) -> Reading {
        let stages = self.stages.iter().zip(&earlier.stages).map(|(now, before)| now.since(before));
        let edges = self.edges.iter().zip(&earlier.edges).map(|(now, before)| EdgeReading {
            output_wait: less(now.output_wait, before.output_wait),
            input_wait: less(now.input_wait, before.input_wait),
            samples: now.samples.saturating_sub(before.samples),
            items_sum: now.items_sum.saturating_sub(before.items_sum),
            bytes_sum: now.bytes_sum.saturating_sub(before.bytes_sum),
            ..*now
        });
        Reading {
            seconds: less(self.seconds, earlier.seconds),
            cpu: self.cpu.zip(earlier.cpu).map(|(now, before)| less(now, before)),
            queued: self.queued.zip(earlier.queued).map(|(now, before)| less(now, before)),
            stages: stages.collect(),
            states: self.states.clone(),
            edges: edges.collect(),
            units: self.units.iter().zip(&earlier.units).map(|(now, before)| less(*now, *before)).collect(),
        }
    }
}

impl EdgeReading {
    /// The mean share of the edge's room that was in use, 0 to 1: of its places or of its bytes, whichever was scarcer.
    /// `None` before the first sample, and so for a run that is shorter than the time between samples (50 ms).
    pub fn mean_fill(&self) -> Option<f64> {
        let fill = |sum: u64, limit: usize| sum as f64 / self.samples as f64 / limit.max(1) as f64;
        let scarcer = fill(self.items_sum, self.limits.items).max(fill(self.bytes_sum, self.limits.bytes));
        (self.samples > 0).then(|| scarcer.min(1.0))
    }
}

/// The growth of a sum, which rounding must not turn negative.
fn less(now: f64, before: f64) -> f64 {
    (now - before).max(0.0)
}

impl StageReading {
    /// What the stage has done since `earlier`.
    #[must_use]
    pub(crate) fn since(&self, earlier: &StageReading) -> StageReading {
        let grown = |now: &std::collections::BTreeMap<&'static str, u64>,
                     before: &std::collections::BTreeMap<&'static str, u64>| {
            let grown = now.iter().map(|(name, n)| (*name, n - before.get(name).copied().unwrap_or(0)));
            grown.filter(|(_, n)| *n > 0).collect()
        };
        StageReading {
            items_in: self.items_in - earlier.items_in,
            items_out: self.items_out - earlier.items_out,
            bytes_in: self.bytes_in - earlier.bytes_in,
            bytes_out: self.bytes_out - earlier.bytes_out,
            busy: less(self.busy, earlier.busy),
            input_wait: less(self.input_wait, earlier.input_wait),
            output_wait: less(self.output_wait, earlier.output_wait),
            waits: self.waits.iter().zip(&earlier.waits).map(|(now, before)| less(*now, *before)).collect(),
            cpu: self.cpu.map(|now| less(now, earlier.cpu.unwrap_or(0.0))),
            queued: self.queued.map(|now| less(now, earlier.queued.unwrap_or(0.0))),
            rejected: grown(&self.rejected, &earlier.rejected),
            counts: grown(&self.counts, &earlier.counts),
            progress: self.progress,
            task: self.task,
            done: self.done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A reading of one stage that did these for so many seconds.
    fn reading(seconds: f64, busy: f64, input_wait: f64, activity: Activity) -> Reading {
        let stage = StageReading { busy, input_wait, items_in: busy as u64, ..StageReading::default() };
        let state = StageState { activity, port: None, since: Duration::ZERO };
        Reading {
            seconds,
            cpu: None,
            queued: None,
            stages: vec![stage],
            states: vec![state],
            edges: Vec::new(),
            units: vec![busy],
        }
    }

    #[test]
    fn a_stage_that_is_through_early_was_busy_for_a_small_share_of_the_run() {
        let now = reading(61.0, 0.7, 0.7, Activity::Done);
        let shares = now.shares(0);
        assert_eq!((shares.busy, shares.input_wait), (0.7 / 61.0, 0.7 / 61.0));
        assert!((shares.ended - 59.6 / 61.0).abs() < 1e-12);
        let sum = shares.busy + shares.input_wait + shares.output_wait + shares.ended;
        assert!((sum - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_window_has_the_shares_of_its_own_time() {
        let before = reading(10.0, 9.0, 1.0, Activity::Busy);
        let now = reading(12.0, 9.5, 2.5, Activity::Busy);
        let window = now.since(&before);
        assert_eq!((window.seconds, window.stages[0].items_in), (2.0, 0));
        let shares = window.shares(0);
        assert_eq!((shares.busy, shares.input_wait, shares.ended), (0.25, 0.75, 0.0));
        assert_eq!(window.units, [0.5]);
    }
}
