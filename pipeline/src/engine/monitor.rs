//! The monitor of a run: its stages and its edges, from which readings are taken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::diagnosis::{self, Bottleneck, EdgeFacts, Facts, Service, StageFacts};
use super::history::History;
use super::reading::{EdgeReading, Reading};
use super::remaining;
use super::totals::Earlier;
use super::units::Units;
use crate::edge::budget::Budget;
use crate::edge::channel::EdgeGauge;
use crate::edge::cpu;
use crate::edge::cycle::SharedClock;
use crate::edge::meter::{Activity, StageMeter, StageState, WaitSlot};
use crate::edge::payload::PayloadType;
use crate::edge::probe::ProbePoint;
use crate::graph::{ResolvedEdge, ResolvedGraph};
use crate::stage::context::Results;

/// The live and final readings of a run. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    graph: String,
    stages: Vec<StageMonitor>,
    edges: Vec<EdgeMonitor>,
    probes: Vec<OutputProbe>,
    units: Units,
    /// The clock of each unit that is a cycle.
    clocks: Vec<Option<Arc<SharedClock>>>,
    memory: Option<Arc<Budget>>,
    results: Arc<Results>,
    /// The number of cores that the process may use.
    cores: usize,
    began: OnceLock<Began>,
    /// When the time of all threads in the queue for a core was last looked up, and that time.
    queue: Mutex<Option<(Instant, Option<Duration>)>>,
    history: Mutex<History>,
    /// The last reading of the run, once it has ended. Readings are taken under this lock, so none is later than the
    /// last one.
    last: Mutex<Option<Arc<Reading>>>,
    /// What earlier runs of the graph came to.
    earlier: Arc<Earlier>,
}

/// The least time between two looks at the queue for the cores. A look asks the system about each thread.
const QUEUE_EVERY: Duration = Duration::from_millis(500);

/// The moment at which a run began, and the times that the process had spent on a core and in the queue by then.
#[derive(Debug)]
struct Began {
    at: Instant,
    cpu: Option<Duration>,
    queued: Option<Duration>,
}

/// The names and the meter of a stage.
#[derive(Debug)]
pub struct StageMonitor {
    /// The stage's name in the graph.
    pub name: String,
    /// The stage's type in the registry.
    pub type_name: String,
    /// The value of the stage's key `workers`, or 1 if it has no such key.
    pub workers: u64,
    /// The highest value of the key `workers`; `None` if the stage's type has no such key.
    pub most_workers: Option<u64>,
    /// The stage's meter.
    pub meter: Arc<StageMeter>,
}

/// The ends of an edge, and its depth over time.
#[derive(Debug)]
pub struct EdgeMonitor {
    /// The index of the producing stage.
    pub from: usize,
    /// The index of the consuming stage.
    pub to: usize,
    /// The producer's port.
    pub output: &'static str,
    /// The consumer's port.
    pub input: &'static str,
    /// Whether the edge closes a loop.
    pub delayed: bool,
    /// The place of `input` among the consumer's ports.
    pub input_index: usize,
    /// The bounds and the live depth of the edge.
    pub gauge: Arc<EdgeGauge>,
    /// The places of the waits at this edge, in the meters of the producer and of the consumer.
    pub(super) waits: (WaitSlot, WaitSlot),
    samples: AtomicU64,
    items_sum: AtomicU64,
    bytes_sum: AtomicU64,
}

impl EdgeMonitor {
    /// Makes the monitor of the edge `edge` of `graph`.
    pub(crate) fn new(
        graph: &ResolvedGraph,
        edge: &ResolvedEdge,
        gauge: Arc<EdgeGauge>,
        waits: (WaitSlot, WaitSlot),
    ) -> Self {
        let ((from, output), (to, input)) = (edge.from, edge.to);
        Self {
            from,
            to,
            output: graph.stages[from].ports.outputs[output].name,
            input: graph.stages[to].ports.inputs[input].name,
            delayed: edge.delayed,
            input_index: input,
            gauge,
            waits,
            samples: AtomicU64::new(0),
            items_sum: AtomicU64::new(0),
            bytes_sum: AtomicU64::new(0),
        }
    }

    fn sample(&self) {
        self.samples.fetch_add(1, Ordering::Relaxed);
        self.items_sum.fetch_add(self.gauge.items() as u64, Ordering::Relaxed);
        self.bytes_sum.fetch_add(self.gauge.bytes() as u64, Ordering::Relaxed);
    }
}

/// The units of a graph and the clocks of those that are cycles.
pub(crate) struct UnitClocks {
    pub(crate) units: Units,
    pub(crate) clocks: Vec<Option<Arc<SharedClock>>>,
}

/// An output and the place for a probe at it.
#[derive(Debug)]
pub(crate) struct OutputProbe {
    /// The index of the stage.
    pub(crate) stage: usize,
    /// The name of the port.
    pub(crate) output: &'static str,
    /// What passes the port.
    pub(crate) payload: PayloadType,
    /// The place for a probe.
    pub(crate) point: Arc<ProbePoint>,
}

/// What a monitor is made from.
pub(crate) struct Parts {
    pub(crate) graph: String,
    pub(crate) stages: Vec<StageMonitor>,
    pub(crate) edges: Vec<EdgeMonitor>,
    pub(crate) probes: Vec<OutputProbe>,
    pub(crate) units: UnitClocks,
    pub(crate) memory: Option<Arc<Budget>>,
    pub(crate) results: Arc<Results>,
    /// What earlier runs of the graph came to.
    pub(crate) earlier: Arc<Earlier>,
}

impl Monitor {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { graph, stages, edges, probes, units, memory, results, earlier } = parts;
        let UnitClocks { units, clocks } = units;
        let history = Mutex::new(History::new(stages.len()));
        Self {
            shared: Arc::new(Shared {
                graph,
                stages,
                edges,
                probes,
                units,
                clocks,
                memory,
                results,
                cores: std::thread::available_parallelism().map_or(1, usize::from),
                began: OnceLock::new(),
                queue: Mutex::new(None),
                history,
                last: Mutex::new(None),
                earlier,
            }),
        }
    }

    /// The graph's name.
    pub fn graph(&self) -> &str {
        &self.shared.graph
    }

    /// The outputs at which a probe can be put.
    pub(super) fn probes(&self) -> &[OutputProbe] {
        &self.shared.probes
    }

    /// The units of the graph, by which [`Reading::units`] is counted.
    pub fn units(&self) -> &Units {
        &self.shared.units
    }

    /// The reading of this moment. Once the run has ended, its last reading.
    pub fn read(&self) -> Arc<Reading> {
        let last = self.last();
        last.clone().unwrap_or_else(|| Arc::new(self.read_now()))
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<Reading>>> {
        self.shared.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_now(&self) -> Reading {
        let Shared { stages, edges, clocks, .. } = &*self.shared;
        // All clocks are held at the same time. A stage's thread waits for its own clock only, and for that of its
        // cycle while it holds its own, which is the order in which they are taken here.
        let mut held: Vec<_> = stages.iter().map(|stage| stage.meter.clock()).collect();
        let mut shared: Vec<_> =
            clocks.iter().map(|clock| clock.as_ref().map(|clock| clock.lock())).collect();
        let now = Instant::now();
        held.iter_mut().for_each(|clock| clock.advance(now));
        let cycles: Vec<Option<f64>> =
            shared.iter_mut().map(|time| time.as_mut().map(|time| time.busy(now))).collect();
        drop(shared);
        let clocks: Vec<_> = held.iter().map(|clock| (**clock).clone()).collect();
        drop(held);

        let states = clocks.iter().map(|clock| StageState::of(clock, now)).collect();
        let stages: Vec<_> =
            stages.iter().zip(&clocks).map(|(stage, clock)| stage.meter.reading(clock)).collect();
        let edges = edges.iter().map(|edge| EdgeReading {
            items: edge.gauge.items(),
            bytes: edge.gauge.bytes(),
            limits: edge.gauge.limits,
            output_wait: stages[edge.from].waited(edge.waits.0),
            input_wait: stages[edge.to].waited(edge.waits.1),
            samples: edge.samples.load(Ordering::Relaxed),
            items_sum: edge.items_sum.load(Ordering::Relaxed),
            bytes_sum: edge.bytes_sum.load(Ordering::Relaxed),
        });
        let busy = |unit: usize| self.shared.units.stages[unit].iter().map(|&stage| stages[stage].busy).sum();
        let units = cycles.iter().enumerate().map(|(unit, cycle)| cycle.unwrap_or_else(|| busy(unit)));
        let began = self.shared.began.get();
        let cpu = began.and_then(|began| Some(cpu::of_process()?.saturating_sub(began.cpu?).as_secs_f64()));
        let queued =
            began.and_then(|began| Some(self.queued(now)?.saturating_sub(began.queued?).as_secs_f64()));
        Reading {
            seconds: began.map_or(0.0, |began| now.saturating_duration_since(began.at).as_secs_f64()),
            cpu,
            queued,
            units: units.collect(),
            edges: edges.collect(),
            stages,
            states,
        }
    }

    /// The time that the threads of the process have waited for a core, as of not long before `now`.
    fn queued(&self, now: Instant) -> Option<Duration> {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = queue.filter(|(at, _)| now.saturating_duration_since(*at) < QUEUE_EVERY);
        if let Some((_, queued)) = fresh {
            return queued;
        }
        // The times of threads that have ended are lost, and no reading goes back.
        let queued = cpu::queued_of_process().max(queue.and_then(|(_, before)| before));
        *queue = Some((now, queued));
        queued
    }

    /// The readings so far, about equally far apart, at most a few hundred.
    pub fn history(&self) -> Vec<Arc<Reading>> {
        self.shared.history.lock().unwrap_or_else(PoisonError::into_inner).readings()
    }

    /// The seconds from `reading`, a reading of this run, until its sources have read everything. `None` where that cannot
    /// be told.
    pub fn seconds_left(&self, reading: &Reading) -> Option<f64> {
        remaining::seconds_left(&self.history(), reading)
    }

    /// A number that the run is to end with, as it stands now, such as the steps that are done.
    pub fn result(&self, name: &str) -> Option<f64> {
        self.shared.results.get(name)
    }

    /// The stages, in the order of the graph.
    pub fn stages(&self) -> &[StageMonitor] {
        &self.shared.stages
    }

    /// The edges.
    pub fn edges(&self) -> &[EdgeMonitor] {
        &self.shared.edges
    }

    /// Whether a stage sends something on: whether an edge leads away from it.
    pub fn sends(&self, stage: usize) -> bool {
        self.shared.edges.iter().any(|edge| edge.from == stage)
    }

    /// The account of queued bytes, where the graph has a cap on them.
    pub fn memory(&self) -> Option<&Budget> {
        self.shared.memory.as_deref()
    }

    /// For every stage, a number that changes whenever the stage moves. The watchdog compares these numbers.
    pub(crate) fn moves(&self) -> impl Iterator<Item = u64> {
        self.shared.stages.iter().map(|stage| stage.meter.moves())
    }

    /// Whether some stage waits and every other one waits too or has ended.
    pub(crate) fn all_wait(&self) -> bool {
        let mut activities = self.shared.stages.iter().map(|stage| stage.meter.activity());
        let waits = |activity| matches!(activity, Activity::InputWait | Activity::OutputWait);
        let mut any = false;
        let all = activities.all(|activity| {
            any |= waits(activity);
            waits(activity) || activity == Activity::Done
        });
        any && all
    }

    /// Whether every stage that sends nothing on has ended. Such stages write the results of a run, so what the other
    /// stages still do has no effect any more.
    pub(crate) fn sinks_are_done(&self) -> bool {
        let mut sinks = self.shared.stages.iter().enumerate().filter(|(index, _)| !self.sends(*index));
        sinks.all(|(_, sink)| sink.meter.activity() == Activity::Done)
    }

    /// Starts the clocks of the stages that have a thread, at the same moment.
    pub(crate) fn begin<'m>(&self, meters: impl Iterator<Item = &'m StageMeter>) {
        let now = || Began { at: Instant::now(), cpu: cpu::of_process(), queued: cpu::queued_of_process() };
        let began = self.shared.began.get_or_init(now);
        meters.for_each(|meter| meter.start(began.at));
    }

    /// Takes the last reading of the run and publishes it. Returns the time that the run took, in seconds.
    pub(crate) fn finish(&self) -> f64 {
        // No sample is taken here: every edge is empty by now, which says nothing about the run.
        let last = self.last().get_or_insert_with(|| Arc::new(self.read_now())).clone();
        self.publish(&last, &self.shared.earlier);
        self.shared.earlier.count(&last);
        last.seconds
    }

    /// Takes one sample of every edge's depth and keeps the reading of this moment. With `publish`, the reading also goes
    /// out through the `metrics` facade.
    pub(crate) fn sample(&self, publish: bool) {
        self.shared.edges.iter().for_each(EdgeMonitor::sample);
        let reading = self.read();
        self.shared.history.lock().unwrap_or_else(PoisonError::into_inner).push(&reading);
        if publish {
            self.publish(&reading, &self.shared.earlier);
        }
    }

    /// What limits the run, as far as its readings tell.
    pub fn bottleneck(&self) -> Bottleneck {
        self.with_facts(diagnosis::diagnose)
    }

    /// How fast each stage served its items, and how fast the run can be with that.
    ///
    /// # Errors
    /// The finding that the readings do not tell yet.
    pub fn service(&self) -> Result<Service, Box<Bottleneck>> {
        self.with_facts(diagnosis::service)
    }

    fn with_facts<R>(&self, body: impl FnOnce(&Facts<'_>) -> R) -> R {
        let stages = self.shared.stages.iter().map(|stage| StageFacts {
            name: &stage.name,
            workers: stage.workers,
            most_workers: stage.most_workers.map(|most| most.min(stage.meter.useful_workers())),
        });
        let edges = self.shared.edges.iter().map(|edge| EdgeFacts { from: edge.from, to: edge.to });
        body(&Facts {
            stages: stages.collect(),
            edges: edges.collect(),
            units: &self.shared.units,
            history: &self.history(),
            last: &self.read(),
            cores: self.shared.cores,
        })
    }
}
