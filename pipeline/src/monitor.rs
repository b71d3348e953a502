//! Readings of a whole run: stages, edges, the limiting stage, and the `metrics` facade.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{counter, gauge};

use crate::budget::Budget;
use crate::channel::EdgeGauge;
use crate::graph::{ResolvedEdge, ResolvedGraph};
use crate::meter::{StageMeter, StageReading};

/// Live and final readings of a run. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    graph: String,
    stages: Vec<StageMonitor>,
    edges: Vec<EdgeMonitor>,
    memory: Option<Arc<Budget>>,
    wall_seconds: Mutex<f64>,
}

/// A stage's names and meter.
#[derive(Debug)]
pub struct StageMonitor {
    /// Name in the graph.
    pub name: String,
    /// Type in the registry.
    pub type_name: String,
    /// Its `workers` key, else 1.
    pub workers: u64,
    /// Its meter.
    pub meter: Arc<StageMeter>,
}

/// An edge's ends and its depth over time.
#[derive(Debug)]
pub struct EdgeMonitor {
    /// Index of the producing stage.
    pub from: usize,
    /// Index of the consuming stage.
    pub to: usize,
    /// The producer's port.
    pub output: &'static str,
    /// The consumer's port.
    pub input: &'static str,
    /// Whether the edge closes a loop.
    pub delayed: bool,
    /// The place of `input` among the consumer's ports.
    pub input_index: usize,
    /// Bounds and live depth.
    pub gauge: Arc<EdgeGauge>,
    samples: AtomicU64,
    depth_sum: AtomicU64,
}

/// The stage that holds the others up.
#[derive(Debug, Clone, PartialEq)]
pub struct Bottleneck {
    /// The stage's name.
    pub stage: String,
    /// What was observed.
    pub why: String,
    /// What to try.
    pub advice: String,
}

impl EdgeMonitor {
    /// `edge` of `graph`.
    pub(crate) fn new(graph: &ResolvedGraph, edge: &ResolvedEdge, gauge: Arc<EdgeGauge>) -> Self {
        let ((from, output), (to, input)) = (edge.from, edge.to);
        Self {
            from,
            to,
            output: graph.stages[from].ports.outputs[output].name,
            input: graph.stages[to].ports.inputs[input].name,
            delayed: edge.delayed,
            input_index: input,
            gauge,
            samples: AtomicU64::new(0),
            depth_sum: AtomicU64::new(0),
        }
    }

    /// Mean share of the edge's capacity in use over the run, 0 to 1; `None` before the first sample, and so for
    /// a run shorter than the time between samples (50 ms).
    pub fn mean_fill(&self) -> Option<f64> {
        let samples = self.samples.load(Ordering::Relaxed);
        let mean = self.depth_sum.load(Ordering::Relaxed) as f64 / samples as f64;
        (samples > 0).then(|| mean / self.gauge.limits.items as f64)
    }
}

impl Monitor {
    pub(crate) fn new(
        graph: &str,
        stages: Vec<StageMonitor>,
        edges: Vec<EdgeMonitor>,
        memory: Option<Arc<Budget>>,
    ) -> Self {
        let wall_seconds = Mutex::new(0.0);
        Self { shared: Arc::new(Shared { graph: graph.into(), stages, edges, memory, wall_seconds }) }
    }

    /// The stages, in the order of the graph.
    pub fn stages(&self) -> &[StageMonitor] {
        &self.shared.stages
    }

    /// The edges.
    pub fn edges(&self) -> &[EdgeMonitor] {
        &self.shared.edges
    }

    /// The account of queued bytes, where the graph has a cap on them.
    pub fn memory(&self) -> Option<&Budget> {
        self.shared.memory.as_deref()
    }

    /// How far every stage is, for the watchdog.
    pub(crate) fn moves(&self) -> impl Iterator<Item = u64> {
        self.shared.stages.iter().map(|stage| stage.meter.moves())
    }

    /// Wall seconds of the finished run, 0 while it runs.
    pub fn wall_seconds(&self) -> f64 {
        *self.shared.wall_seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn finish(&self, wall_seconds: f64) {
        *self.shared.wall_seconds.lock().unwrap_or_else(PoisonError::into_inner) = wall_seconds;
        // Without a sample: every edge is empty by now, which says nothing of the run.
        self.publish();
    }

    /// Takes one sample of every edge's depth and publishes all readings through the `metrics` facade.
    pub(crate) fn sample(&self) {
        for edge in &self.shared.edges {
            edge.samples.fetch_add(1, Ordering::Relaxed);
            edge.depth_sum.fetch_add(edge.gauge.items() as u64, Ordering::Relaxed);
        }
        self.publish();
    }

    fn publish(&self) {
        for stage in &self.shared.stages {
            let labels = [
                ("graph", self.shared.graph.clone()),
                ("stage", stage.name.clone()),
                ("type", stage.type_name.clone()),
            ];
            let now = stage.meter.read();
            counter!("framewise_stage_received_items_total", &labels).absolute(now.items_in);
            counter!("framewise_stage_sent_items_total", &labels).absolute(now.items_out);
            counter!("framewise_stage_received_bytes_total", &labels).absolute(now.bytes_in);
            counter!("framewise_stage_sent_bytes_total", &labels).absolute(now.bytes_out);
            for (reason, count) in &now.rejected {
                let [graph, name, kind] = labels.clone();
                let labels = [graph, name, kind, ("reason", (*reason).to_owned())];
                counter!("framewise_stage_rejected_records_total", &labels).absolute(*count);
            }
            // Seconds are fractional, which the facade's counters cannot hold: they only ever grow all the same.
            gauge!("framewise_stage_busy_seconds_total", &labels).set(now.busy);
            gauge!("framewise_stage_input_wait_seconds_total", &labels).set(now.input_wait);
            gauge!("framewise_stage_output_wait_seconds_total", &labels).set(now.output_wait);
            gauge!("framewise_stage_utilization_ratio", &labels).set(now.utilization());
            gauge!("framewise_stage_workers", &labels).set(stage.workers as f64);
        }
        for edge in &self.shared.edges {
            let labels = [
                ("graph", self.shared.graph.clone()),
                ("from", format!("{}.{}", self.shared.stages[edge.from].name, edge.output)),
                ("to", format!("{}.{}", self.shared.stages[edge.to].name, edge.input)),
            ];
            gauge!("framewise_edge_capacity_items", &labels).set(edge.gauge.limits.items as f64);
            gauge!("framewise_edge_depth_items", &labels).set(edge.gauge.items() as f64);
            gauge!("framewise_edge_depth_bytes", &labels).set(edge.gauge.bytes() as f64);
        }
    }

    /// The limiting stage: the one with the highest busy time, confirmed by the edges around it. `None` for a
    /// run in which nothing was busy.
    pub fn bottleneck(&self) -> Option<Bottleneck> {
        let readings: Vec<StageReading> = self.shared.stages.iter().map(|s| s.meter.read()).collect();
        let wall = readings.iter().map(StageReading::wall).fold(self.wall_seconds(), f64::max);
        let (index, reading) = readings.iter().enumerate().max_by(|a, b| a.1.busy.total_cmp(&b.1.busy))?;
        if reading.busy <= 0.0 || wall <= 0.0 {
            return None;
        }
        let stage = &self.shared.stages[index];
        let percent = |share: f64| (share * 100.0).round();
        let mut why = format!("busy {}% of the run", percent(reading.busy / wall));
        let fill = |edge: &EdgeMonitor| edge.mean_fill().map(percent);
        // The edges of the weights loop say nothing: they hold one version at a time by nature.
        let edges = || self.shared.edges.iter().filter(|e| !e.delayed);
        let main_in = edges().filter(|e| e.to == index).min_by_key(|e| e.input_index);
        let main_out = edges().find(|e| e.from == index);
        if let Some(full) = main_in.and_then(fill) {
            why += &format!(", the edge into it {full}% full");
        }
        if let Some(full) = main_out.and_then(fill) {
            why += &format!(", the edge out of it {full}% full");
        }
        let advice = if reading.busy / wall < 0.5 {
            "no stage is busy most of the time: they wait for each other in turn, as the stages of a training loop do by \
             nature; a larger batch gives each more to do at a time"
        } else if stage.workers > 1 {
            "raise its `workers` if cores are idle"
        } else if main_in.is_none() {
            "it is the source: only faster storage or less to read speeds the run up, not the stages after it"
        } else {
            "give it more of the machine (its `workers`, more devices) or less to do per item"
        };
        Some(Bottleneck { stage: stage.name.clone(), why, advice: advice.to_owned() })
    }
}
