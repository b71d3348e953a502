//! The history of a run: readings from its beginning to its end, of which there are never more than a few hundred.
//!
//! Law: the readings are about equally far apart. When there are too many, every second one goes, and from then on only
//! every second of those that come is kept.
//!
//! Law: a history needs as much memory after its first reading as ever. A process whose memory grows later has a leak,
//! and that must not be hidden behind a history that fills, or that loses half of its readings now and then.

use std::sync::Arc;

use super::reading::{EdgeReading, Reading};
use crate::edge::meter::{StageReading, StageState};
use crate::graph::ResolvedGraph;

/// The most readings of a graph of a few stages. A live page draws its curves from as many points.
const MOST: usize = 512;
/// The most stages in all readings together, which bounds the memory for large graphs.
const MOST_STAGES: usize = 100_000;

/// The bytes of the history of a run of this graph, once there is a reading.
pub fn history_bytes(graph: &ResolvedGraph) -> u64 {
    let (stages, edges) = (graph.stages.len(), graph.edges.len());
    let waits: usize =
        graph.stages.iter().map(|stage| stage.ports.inputs.len() + stage.ports.outputs.len()).sum();
    let of_stages = stages * (size_of::<StageReading>() + size_of::<StageState>() + size_of::<f64>());
    let of_edges = edges * size_of::<EdgeReading>() + (waits + edges) * size_of::<f64>();
    (most(stages) * (size_of::<Reading>() + of_stages + of_edges)) as u64
}

/// The most readings of a graph of this many stages.
fn most(stages: usize) -> usize {
    (MOST_STAGES / stages.max(1)).clamp(32, MOST)
}

/// Readings in the order of time.
#[derive(Debug)]
pub(crate) struct History {
    /// The readings, and behind them others that only hold the memory of those to come.
    slots: Vec<Arc<Reading>>,
    /// The number of readings.
    len: usize,
    most: usize,
    /// Every how many readings that come one is kept.
    every: u64,
    come: u64,
}

impl History {
    /// An empty history of a graph with this many stages.
    pub(crate) fn new(stages: usize) -> Self {
        Self { slots: Vec::new(), len: 0, most: most(stages), every: 1, come: 0 }
    }

    /// Adds a reading, unless enough others are near it.
    pub(crate) fn push(&mut self, reading: &Arc<Reading>) {
        if self.slots.is_empty() {
            self.slots = (0..self.most).map(|_| Arc::new(Reading::clone(reading))).collect();
        }
        if self.come.is_multiple_of(self.every) {
            self.slots[self.len] = reading.clone();
            self.len += 1;
        }
        self.come += 1;
        if self.len == self.most {
            self.len = self.most.div_ceil(2);
            for kept in 1..self.len {
                self.slots.swap(kept, 2 * kept);
            }
            self.every *= 2;
        }
    }

    /// The readings.
    pub(crate) fn readings(&self) -> Vec<Arc<Reading>> {
        self.slots[..self.len].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_few_readings_that_are_equally_far_apart() {
        let mut history = History::new(20_000);
        for tick in 0..100_000_u32 {
            let reading = Reading {
                seconds: f64::from(tick),
                cpu: None,
                queued: None,
                stages: Vec::new(),
                states: Vec::new(),
                edges: Vec::new(),
                units: Vec::new(),
            };
            history.push(&Arc::new(reading));
            assert!(history.readings().len() < 32);
            assert_eq!(history.slots.len(), 32);
        }
        let seconds: Vec<f64> = history.readings().iter().map(|reading| reading.seconds).collect();
        assert_eq!(seconds[0], 0.0);
        let step = seconds[1];
        assert!(seconds.windows(2).all(|pair| pair[1] - pair[0] == step), "{seconds:?}");
        assert!(seconds.len() >= 15 && 100_000.0 - seconds[seconds.len() - 1] <= 2.0 * step, "{seconds:?}");
    }
}
