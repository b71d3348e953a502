//! Finds out that a run has come to a halt, and says where everything stood.
//!
//! Law: time is counted in ticks of the sampler, never read from a clock, so a process that was stopped or a machine
//! that slept has lost no time; and a stage moves when a packet passes one of its ports, when it begins or ends a wait,
//! and when it says so ([`StageMeter::touch`]).
//!
//! [`StageMeter::touch`]: crate::meter::StageMeter::touch

use std::fmt;
use std::time::Duration;

use crate::meter::Activity;
use crate::monitor::Monitor;

/// How long nothing may move where a graph does not say. A full-size step takes up to a minute on a few cores.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(600);

/// Counts the ticks since anything moved.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// `None` watches nothing, or not any more.
    limit: Option<u64>,
    idle: u64,
    last: Vec<u64>,
}

/// What a tick found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tick {
    /// Something moved since the last tick.
    Moved,
    /// Nothing did, which may still change.
    Idle,
    /// Nothing has for as long as is allowed. Told once.
    Stalled,
}

impl Watchdog {
    /// Ticks come every `tick`, or later where the machine is busy.
    pub(crate) fn new(timeout: Option<Duration>, tick: Duration) -> Self {
        let ticks = |timeout: Duration| timeout.as_nanos().div_ceil(tick.as_nanos().max(1)).max(1);
        let limit = timeout.map(|timeout| u64::try_from(ticks(timeout)).unwrap_or(u64::MAX));
        Self { limit, idle: 0, last: Vec::new() }
    }

    /// Looks at how far every stage is.
    pub(crate) fn tick(&mut self, moves: impl Iterator<Item = u64>) -> Tick {
        let moves: Vec<u64> = moves.collect();
        if moves != self.last {
            self.last = moves;
            self.idle = 0;
            return Tick::Moved;
        }
        self.idle = self.idle.saturating_add(1);
        if Some(self.idle) != self.limit {
            return Tick::Idle;
        }
        self.limit = None;
        Tick::Stalled
    }

    /// Whether a halt of this run would be told.
    pub(crate) fn still_watches(&self) -> bool {
        self.limit.is_some()
    }
}

/// A run in which nothing moved for too long: where every stage and every edge stood.
#[derive(Debug, Clone, PartialEq)]
pub struct Stall {
    /// How long nothing moved: the limit.
    pub timeout: Duration,
    /// The stages, in the order of the graph.
    pub stages: Vec<StalledStage>,
    /// The edges.
    pub edges: Vec<StalledEdge>,
    /// Bytes queued on all edges and the graph's cap, where it has one.
    pub memory: Option<(usize, usize)>,
}

/// A stage of a run that stalled.
#[derive(Debug, Clone, PartialEq)]
pub struct StalledStage {
    /// Its name.
    pub name: String,
    /// What its thread is doing.
    pub activity: Activity,
    /// The port it waits at.
    pub port: Option<&'static str>,
    /// For how long, by the clock on the wall.
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
    /// Packets in it, and how many it takes.
    pub items: (usize, usize),
    /// Payload bytes in it, and how many it takes.
    pub bytes: (usize, usize),
}

impl Stall {
    /// Where everything stands now.
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

    /// The stages that are in their own code.
    pub fn busy(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().filter(|s| s.activity == Activity::Busy).map(|s| s.name.as_str())
    }

    /// A line for each stage and each edge.
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

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    fn tick(watch: &mut Watchdog, moves: &[u64]) -> Tick {
        watch.tick(moves.iter().copied())
    }

    #[test]
    fn a_stall_is_told_after_as_many_idle_ticks_as_the_timeout_holds_and_once() {
        let mut watch = Watchdog::new(Some(Duration::from_millis(151)), TICK);
        assert_eq!(tick(&mut watch, &[0, 0]), Tick::Moved);
        let idle: Vec<_> = (0..6).map(|_| tick(&mut watch, &[0, 0])).collect();
        assert_eq!(idle, [Tick::Idle, Tick::Idle, Tick::Idle, Tick::Stalled, Tick::Idle, Tick::Idle]);
        assert!(!watch.still_watches());
        // Not again either, when the stages that wake up to end have moved.
        assert_eq!(tick(&mut watch, &[1, 0]), Tick::Moved);
        assert!((0..10).all(|_| tick(&mut watch, &[1, 0]) == Tick::Idle));
    }

    #[test]
    fn any_stage_that_moves_begins_the_count_again() {
        let mut watch = Watchdog::new(Some(2 * TICK), TICK);
        for round in 0..100 {
            assert_eq!(tick(&mut watch, &[round, 7]), Tick::Moved);
            assert_eq!(tick(&mut watch, &[round, 7]), Tick::Idle);
            assert!(watch.still_watches());
        }
        assert_eq!(tick(&mut watch, &[99, 7]), Tick::Stalled);
    }

    #[test]
    fn without_a_timeout_nothing_stalls() {
        let mut watch = Watchdog::new(None, TICK);
        tick(&mut watch, &[0]);
        assert!((0..100_000).all(|_| tick(&mut watch, &[0]) == Tick::Idle));
        assert!(!watch.still_watches());
        let mut endless = Watchdog::new(Some(Duration::MAX), TICK);
        tick(&mut endless, &[0]);
        assert!((0..1000).all(|_| tick(&mut endless, &[0]) == Tick::Idle));
    }
}
