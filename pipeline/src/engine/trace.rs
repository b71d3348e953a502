//! The trace of a run: what each stage did from moment to moment, and the way of each packet from stage to stage.
//!
//! Laws: the spans of a stage add up to its times in the last reading. A trace has a bound, which the stages share
//! equally, and counts what it has no room for.

use super::monitor::Monitor;
use crate::edge::trace::{Passed, Recorded, RecorderLimits};

pub use crate::edge::trace::{Span, Unrecorded};

/// The most that a trace holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceLimits {
    /// The most spans of all stages together.
    pub spans: usize,
    /// The most packets of all edges together.
    pub packets: usize,
}

impl Default for TraceLimits {
    /// About 150 MB of JSON, which the viewers open within seconds, and 40 MB of memory while the run goes on.
    fn default() -> Self {
        Self { spans: 400_000, packets: 400_000 }
    }
}

impl TraceLimits {
    /// The part of each stage in a graph with so many stages and edges. A stage with many spans does not take the room
    /// of one with few, which then covers a longer time.
    pub(crate) fn shared_by(self, stages: usize, edges: usize) -> RecorderLimits {
        RecorderLimits { spans: self.spans / stages.max(1), packets: self.packets / edges.max(1) }
    }
}

/// The trace of a run that has ended. Times are in nanoseconds since the run began.
#[derive(Debug)]
pub struct Trace {
    /// The most spans that there was room for in each stage.
    pub most_spans: usize,
    /// The most packets that there was room for in each edge.
    pub most_packets: usize,
    /// The stages, in the order of the graph.
    pub stages: Vec<StageTrace>,
    /// The edges, in the order of the monitor's edges.
    pub edges: Vec<EdgeTrace>,
}

/// What one stage did.
#[derive(Debug)]
pub struct StageTrace {
    /// The spans, in the order of time.
    pub spans: Vec<Span>,
    /// The spans for which there was no room. They come after the others.
    pub unrecorded: Unrecorded,
}

/// The packets that passed one edge.
#[derive(Debug)]
pub struct EdgeTrace {
    /// When each of the first packets was ready to be sent, and when it was received.
    pub packets: Vec<(u64, u64)>,
    /// The number of packets that were sent and received and are not among them.
    pub unrecorded: u64,
}

impl Monitor {
    /// Takes the trace of the run out of its recorders, once the run has ended. `None` if the run was not traced.
    pub fn take_trace(&self) -> Option<Trace> {
        let RecorderLimits { spans, packets } = self.stages().first()?.meter.recorder()?.limits();
        let end = (self.read().seconds * 1e9).round() as u64;
        let recorded = self.stages().iter().map(|stage| Some(stage.meter.recorder()?.take(end)));
        let mut recorded: Vec<Recorded> = recorded.collect::<Option<_>>()?;
        let edges = self.edges().iter().map(|edge| {
            let (from, to) = edge.waits;
            let sent = std::mem::take(&mut recorded[edge.from].passed[from.index()]);
            let received = std::mem::take(&mut recorded[edge.to].passed[to.index()]);
            EdgeTrace::of(sent, received)
        });
        let edges = edges.collect();
        let stages =
            recorded.into_iter().map(|Recorded { spans, unrecorded, .. }| StageTrace { spans, unrecorded });
        Some(Trace { most_spans: spans, most_packets: packets, stages: stages.collect(), edges })
    }
}

impl EdgeTrace {
    /// Joins the two ends of an edge. It keeps the order of its packets, so the n-th that was sent is the n-th that was
    /// received.
    fn of(sent: Passed, received: Passed) -> Self {
        let all = sent.all.min(received.all);
        let packets: Vec<_> = sent.times.into_iter().zip(received.times).collect();
        Self { unrecorded: all - packets.len() as u64, packets }
    }
}
