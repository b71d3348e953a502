//! Readings that another process told as JSON, as the readings that they were.
//!
//! Law: what is worked out of a told reading is worked out by the functions that serve the run itself, so a run looks
//! the same from its own process and from another.

use std::sync::Arc;
use std::time::Duration;

use framewise_pipeline::edge::channel::EdgeLimits;
use framewise_pipeline::edge::meter::{Activity, StageReading, StageState};
use framewise_pipeline::engine::reading::{EdgeReading, Reading};

use super::view::{HistoryView, ReadingView, RunView};

impl RunView {
    /// The reading of which this is the view. Times have the rounding of a share that is multiplied by the time of the
    /// run. A stage counts as one that has ended once some of the run's time is its end.
    pub(crate) fn reading(&self) -> Arc<Reading> {
        let stages = self.stages.iter().map(|stage| StageReading {
            items_in: stage.items_in,
            items_out: stage.items_out,
            bytes_in: stage.bytes_in,
            bytes_out: stage.bytes_out,
            busy: stage.busy * self.seconds,
            input_wait: stage.input_wait * self.seconds,
            output_wait: stage.output_wait * self.seconds,
            done: stage.ended > 0.0,
            ..StageReading::default()
        });
        let edges = self.edges.iter().map(|edge| EdgeReading {
            items: edge.items,
            bytes: edge.bytes,
            limits: EdgeLimits { items: edge.capacity_items, bytes: edge.capacity_bytes },
            output_wait: edge.output_wait * self.seconds,
            input_wait: edge.input_wait * self.seconds,
            samples: 0,
            items_sum: 0,
            bytes_sum: 0,
        });
        Arc::new(Reading {
            seconds: self.seconds,
            cpu: self.cpu_seconds,
            queued: None,
            states: self.stages.iter().map(|stage| state(stage.ended > 0.0)).collect(),
            stages: stages.collect(),
            edges: edges.collect(),
            units: self.units.iter().map(|unit| unit.utilization * self.seconds).collect(),
        })
    }

    /// Whether a stage sends items on. Its items are then those that it sent, and otherwise those that it received.
    pub(crate) fn sends(&self, stage: usize) -> bool {
        self.edges.iter().any(|edge| self.port_of(stage, &edge.from).is_some())
    }

    /// The port of a stage that the end `stage.port` of an edge names; `None` if it is another stage's.
    pub(crate) fn port_of<'e>(&self, stage: usize, end: &'e str) -> Option<&'e str> {
        let (name, port) = end.rsplit_once('.')?;
        (self.stages.get(stage)?.name == name).then_some(port)
    }
}

impl HistoryView {
    /// The readings of the history, without what the history does not tell: bytes, edges and units.
    pub(crate) fn readings(&self) -> Vec<Arc<Reading>> {
        self.readings.iter().map(|reading| Arc::new(reading.reading())).collect()
    }
}

impl ReadingView {
    fn reading(&self) -> Reading {
        // A list that is too short is that of a server of another version, whose figures count as 0.
        let seconds = |of: &[f64], stage: usize| of.get(stage).copied().unwrap_or_default();
        let items = |of: &[u64], stage: usize| of.get(stage).copied().unwrap_or_default();
        let stages = (0..self.items_in.len()).map(|stage| StageReading {
            items_in: items(&self.items_in, stage),
            items_out: items(&self.items_out, stage),
            busy: seconds(&self.busy_seconds, stage),
            input_wait: seconds(&self.input_wait_seconds, stage),
            output_wait: seconds(&self.output_wait_seconds, stage),
            done: seconds(&self.ended_seconds, stage) > 0.0,
            ..StageReading::default()
        });
        let states = (0..self.items_in.len()).map(|stage| state(seconds(&self.ended_seconds, stage) > 0.0));
        Reading {
            seconds: self.seconds,
            cpu: None,
            queued: None,
            states: states.collect(),
            stages: stages.collect(),
            edges: Vec::new(),
            units: Vec::new(),
        }
    }
}

/// What a stage does, as far as it is told.
fn state(ended: bool) -> StageState {
    let activity = if ended { Activity::Done } else { Activity::Busy };
    StageState { activity, port: None, since: Duration::ZERO }
}
