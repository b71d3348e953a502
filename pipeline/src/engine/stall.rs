//! The report of a run that has come to a halt.

use std::fmt;
use std::time::Duration;

use super::monitor::Monitor;
use crate::edge::meter::Activity;

/// A stall: where every stage and every edge stood when nothing had moved for too long.
#[derive(Debug, Clone, PartialEq)]
pub struct Stall {
    /// The time for which nothing moved, which is the limit.
    pub timeout: Duration,
    /// The stages, in the order of the graph.
    pub stages: Vec<StalledStage>,
    /// The edges.
    pub edges: Vec<StalledEdge>,
    /// The bytes queued on all edges and the graph's cap, where the graph has a cap.
    pub memory: Option<(usize, usize)>,
}

/// A stage of a run that stalled.
#[derive(Debug, Clone, PartialEq)]
pub struct StalledStage {
    /// The stage's name.
    pub name: String,
    /// What the stage's thread is doing.
    pub activity: Activity,
    /// The port at which the thread waits.
    pub port: Option<&'static str>,
    /// How long this activity has lasted, in wall time.
    pub since: Duration,
    /// Items received.
    pub items_in: u64,
    /// Items sent.
    pub items_out: u64,
}

/// An edge of a run that stalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StalledEdge {
    /// The producer, `stage.port`.
    pub from: String,
    /// The consumer, `stage.port`.
    pub to: String,
    /// The packets in the edge, and the most that it takes.
    pub items: (usize, usize),
    /// The payload bytes in the edge, and the most that it takes.
    pub bytes: (usize, usize),
}

impl Stall {
    /// Reads where everything stands now.
    pub(crate) fn of(monitor: &Monitor, timeout: Duration) -> Self {
        let stages = monitor.stages().iter().map(|stage| {
            let (state, reading) = (stage.meter.state(), stage.meter.read());
            StalledStage {
                name: stage.name.clone(),
                activity: state.activity,
                port: state.port,
                since: state.since,
                items_in: reading.items_in,
                items_out: reading.items_out,
            }
        });
        let name = |stage: usize, port: &str| format!("{}.{port}", monitor.stages()[stage].name);
        let edges = monitor.edges().iter().map(|edge| StalledEdge {
            from: name(edge.from, edge.output),
            to: name(edge.to, edge.input),
            items: (edge.gauge.items(), edge.gauge.limits.items),
            bytes: (edge.gauge.bytes(), edge.gauge.limits.bytes),
        });
        Self {
            timeout,
            stages: stages.collect(),
            edges: edges.collect(),
            memory: monitor.memory().map(|budget| (budget.queued(), budget.cap())),
        }
    }

    /// The names of the stages whose threads are in the stage's own code.
    pub fn busy(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().filter(|s| s.activity == Activity::Busy).map(|s| s.name.as_str())
    }

    /// A text with a line for each stage and each edge.
    pub fn report(&self) -> String {
        let mut lines = vec!["nothing moves; the stages:".to_owned()];
        lines.extend(self.stages.iter().map(|stage| format!("  {stage}")));
        lines.push("the edges:".to_owned());
        lines.extend(self.edges.iter().map(|edge| format!("  {edge}")));
        if let Some((queued, cap)) = self.memory {
            lines.push(format!("queued on all edges: {queued} of {cap} bytes"));
        }
        lines.join("\n")
    }
}

impl fmt::Display for StalledStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match (self.activity, self.port) {
            (Activity::Idle, _) => f.write_str("not started")?,
            (Activity::Busy, _) => f.write_str("busy")?,
            (Activity::InputWait, port) => write!(f, "waiting for input {}", port.unwrap_or("?"))?,
            (Activity::OutputWait, port) => write!(f, "waiting for output {}", port.unwrap_or("?"))?,
            (Activity::Done, _) => f.write_str("done")?,
        }
        write!(f, " for {} s; {} items in, {} out", self.since.as_secs(), self.items_in, self.items_out)
    }
}

impl fmt::Display for StalledEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((items, most), (bytes, most_bytes)) = (self.items, self.bytes);
        write!(f, "{} -> {}: {items} of {most} items, {bytes} of {most_bytes} bytes", self.from, self.to)
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the run stalled: nothing moved for {} s ", self.timeout.as_secs_f64())?;
        let busy: Vec<_> = self.busy().map(|name| format!("`{name}`")).collect();
        if busy.is_empty() {
            let waits = self.stages.iter().filter(|s| s.port.is_some());
            let waits = waits.map(|s| format!("`{}` for its port `{}`", s.name, s.port.unwrap_or_default()));
            write!(
                f,
                "and every stage waits for another, a deadlock: {}",
                waits.collect::<Vec<_>>().join(", ")
            )
        } else {
            write!(
                f,
                "while {} was busy without a sign of life; if it only needs longer, raise stall_timeout of [graph]",
                busy.join(", ")
            )
        }
    }
}

impl std::error::Error for Stall {}
