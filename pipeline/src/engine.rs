//! Wires a resolved graph and runs it, one thread a stage.
//!
//! Laws: `End` is sent only for a stage that returned `Ok`; the first failure or panic is recorded and trips the
//! stop token *before* that stage's channel ends are dropped, so no other stage can mistake a failure for an end. A run
//! in which nothing moves any more ends too, and without the threads that hang (see [`crate::watchdog`]).

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::budget::Budget;
use crate::component::{Registry, Wiring};
use crate::context::{Level, Observer, Resources, Results, Silent, StageContext};
use crate::error::{ErrorKind, Failure, StageError};
use crate::graph::ResolvedGraph;
use crate::meter::{Activity, StageMeter};
use crate::monitor::{EdgeMonitor, Monitor, StageMonitor};
use crate::port::{EdgePlan, Ender, OutputPlan, Producer};
use crate::sampler::{SAMPLE_EVERY, Sampler};
use crate::stage::Stage;
use crate::stop::StopToken;
use crate::watchdog::Watchdog;

/// Stack of a stage's thread: candle walks a tape recursively.
const STACK_BYTES: usize = 16 << 20;

/// How long the threads of a run that stalled have to end, once they are told to: as long as the timeout, within these.
const GRACE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// What the caller of a run provides.
#[derive(Clone)]
pub struct RunOptions {
    /// Where the run writes; `None` writes nothing but what stages were told to write by key.
    pub run_dir: Option<PathBuf>,
    /// The resolved graph as text, for checkpoints.
    pub resolved_text: Arc<str>,
    /// Values for stages.
    pub resources: Arc<Resources>,
    /// Receives messages.
    pub observer: Arc<dyn Observer>,
    /// Stops the run from outside.
    pub stop: StopToken,
    /// The meter of the stage that this run goes on in, for a run inside another: as long as this one goes on, that
    /// stage is alive.
    pub inside: Option<Arc<StageMeter>>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            run_dir: None,
            resolved_text: Arc::from(""),
            resources: Arc::default(),
            observer: Arc::new(Silent),
            stop: StopToken::new(),
            inside: None,
        }
    }
}

/// The first failure of a run and the stage it came from.
#[derive(Debug)]
pub struct RunError {
    /// The stage's name; empty where no single stage is to blame.
    pub stage: String,
    /// What happened.
    pub failure: Failure,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stage.is_empty() {
            return self.failure.fmt(f);
        }
        write!(f, "stage `{}`: {}", self.stage, self.failure)
    }
}

impl std::error::Error for RunError {}

/// How a run ended.
#[derive(Debug)]
pub enum Status {
    /// Every stage reached its end.
    Done,
    /// Every stage reached its end after a request to finish early.
    FinishedEarly,
    /// The run was stopped from outside.
    Stopped,
    /// A stage failed.
    Failed(RunError),
}

/// What a run leaves.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// Seconds from the start of the first stage to the end of the last.
    pub wall_seconds: f64,
    /// The numbers it ended with.
    pub results: BTreeMap<String, f64>,
    /// The final readings of stages and edges.
    pub monitor: Monitor,
}

/// A wired graph, ready to run.
pub struct Pipeline {
    workers: Vec<Worker>,
    monitor: Monitor,
    stop: StopToken,
    results: Arc<Results>,
    stall_timeout: Option<Duration>,
    inside: Option<Arc<StageMeter>>,
    observer: Arc<dyn Observer>,
}

/// The first error of a run.
pub(crate) type FirstError = Arc<Mutex<Option<RunError>>>;

struct Worker {
    name: String,
    stage: Box<dyn Stage>,
    enders: Vec<Box<dyn Ender>>,
    keepers: Vec<Box<dyn Any + Send>>,
    meter: Arc<StageMeter>,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.workers.iter().map(|w| &w.name)).finish()
    }
}

impl Pipeline {
    /// Wires the graph and builds its stages, in the order of the file.
    ///
    /// # Errors
    /// The first stage that cannot be built.
    pub fn build(graph: &ResolvedGraph, registry: &Registry, options: &RunOptions) -> Result<Self, RunError> {
        let meters: Vec<_> = graph.stages.iter().map(|_| Arc::new(StageMeter::new())).collect();
        let results = Arc::new(Results::default());
        let budget = graph.memory.map(|cap| Arc::new(Budget::new(cap)));
        let mut wirings: Vec<_> = graph.stages.iter().map(|_| Wiring::new()).collect();
        let mut enders: Vec<Vec<_>> = graph.stages.iter().map(|_| Vec::new()).collect();
        let mut keepers: Vec<Vec<_>> = graph.stages.iter().map(|_| Vec::new()).collect();
        let mut edge_monitors = Vec::with_capacity(graph.edges.len());

        for (s, stage) in graph.stages.iter().enumerate() {
            let edges_out = graph.edges.iter().filter(|e| e.from.0 == s).count();
            let producer = Producer::new(meters[s].clone(), options.stop.clone(), edges_out);
            for (p, port) in stage.ports.outputs.iter().enumerate() {
                let edges: Vec<_> = graph.edges.iter().filter(|e| e.from == (s, p)).collect();
                let plans = edges.iter().map(|e| EdgePlan {
                    limits: e.limits,
                    input: graph.stages[e.to.0].ports.inputs[e.to.1].name,
                    consumer: meters[e.to.0].clone(),
                });
                let connection = (port.connect)(&OutputPlan {
                    name: port.name,
                    delayed: port.delayed,
                    edges: plans.collect(),
                    producer: &producer,
                    budget: budget.as_ref(),
                });
                wirings[s].outputs.insert(port.name, connection.output);
                enders[s].push(connection.ender);
                for (edge, ends) in edges.iter().zip(connection.edges) {
                    let consumer = &graph.stages[edge.to.0];
                    let input = &consumer.ports.inputs[edge.to.1];
                    wirings[edge.to.0].inputs.insert(input.name, ends.input);
                    keepers[edge.to.0].push(ends.keeper);
                    edge_monitors.push(EdgeMonitor::new(graph, edge, ends.gauge));
                }
            }
        }

        let graph_name: Arc<str> = Arc::from(graph.name.as_str());
        let mut workers = Vec::with_capacity(graph.stages.len());
        let parts = wirings.into_iter().zip(enders).zip(keepers);
        for ((stage, meter), ((mut wiring, enders), keepers)) in graph.stages.iter().zip(&meters).zip(parts) {
            let fail = |failure| RunError { stage: stage.name.clone(), failure };
            let component = registry
                .get(&stage.type_name)
                .ok_or_else(|| fail(Failure::config(format!("unknown stage type `{}`", stage.type_name))))?;
            let context = StageContext {
                stage: Arc::from(stage.name.as_str()),
                graph: graph_name.clone(),
                seed: graph.seed,
                resolved_graph: options.resolved_text.clone(),
                run_dir: options.run_dir.clone(),
                stop: options.stop.clone(),
                meter: meter.clone(),
                resources: options.resources.clone(),
                results: results.clone(),
                observer: options.observer.clone(),
            };
            let built =
                catch_unwind(AssertUnwindSafe(|| component.build(&stage.settings, &mut wiring, &context)));
            let built = built.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))).map_err(fail)?;
            workers.push(Worker {
                name: stage.name.clone(),
                stage: built,
                enders,
                keepers,
                meter: meter.clone(),
            });
        }

        let stage_monitors = graph.stages.iter().zip(&meters).map(|(stage, meter)| StageMonitor {
            name: stage.name.clone(),
            type_name: stage.type_name.clone(),
            workers: stage.settings.integer("workers").max(1),
            meter: meter.clone(),
        });
        let monitor = Monitor::new(&graph.name, stage_monitors.collect(), edge_monitors, budget);
        Ok(Self {
            workers,
            monitor,
            stop: options.stop.clone(),
            results,
            stall_timeout: graph.stall_timeout,
            inside: options.inside.clone(),
            observer: options.observer.clone(),
        })
    }

    /// The live readings; cloning is cheap and they stay readable after the run.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Runs every stage to its end or to the first failure.
    ///
    /// Returns when every thread has ended. Only after a stall it does not wait for those that hang: they keep what they
    /// hold until the process ends.
    pub fn run(self) -> Outcome {
        let Self { workers, monitor, stop, results, stall_timeout, inside, observer } = self;
        let errors = FirstError::default();
        let (all_done, done) = crossbeam_channel::bounded::<()>(0);
        let (stalls, stalled) = crossbeam_channel::bounded::<()>(1);
        let sampler = Sampler {
            monitor: monitor.clone(),
            watchdog: Watchdog::new(stall_timeout, SAMPLE_EVERY),
            timeout: stall_timeout.unwrap_or_default(),
            inside,
            observer: observer.clone(),
            stop: stop.clone(),
            errors: errors.clone(),
            stalls,
        };
        let sampler = thread::Builder::new().name("sampler".into()).spawn(move || sampler.run(&done));
        let Started { at, threads, over } = start(workers, &stop, &errors);
        let hang = wait_for(&over, &stalled, stall_timeout.unwrap_or_default());
        for (stage, handle) in threads {
            if hang && !handle.is_finished() {
                let text = "hangs and is left behind; what it was writing is not committed";
                observer.message(Level::Warning, &stage, text);
                continue;
            }
            // `run_worker` catches the panics of a stage's body; this one came from a value that it dropped.
            if let Err(panic) = handle.join() {
                record(&errors, RunError { stage, failure: panicked(panic.as_ref()) }, &stop);
            }
        }
        let wall_seconds = at.elapsed().as_secs_f64();
        drop(all_done);
        if let Ok(sampler) = sampler {
            // Without a sampler, or with a recorder that panics, a run is only less observable.
            let _ = sampler.join();
        }
        monitor.finish(wall_seconds);
        let status = match errors.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Status::Failed(error),
            None if stop.is_tripped() => Status::Stopped,
            None if stop.finish_requested() => Status::FinishedEarly,
            None => Status::Done,
        };
        Outcome { status, wall_seconds, results: results.all(), monitor }
    }
}

/// The running threads of the stages.
struct Started {
    at: Instant,
    threads: Vec<(String, JoinHandle<()>)>,
    /// Disconnects when all of them have ended.
    over: Receiver<()>,
}

/// Starts a thread for each stage.
fn start(workers: Vec<Worker>, stop: &StopToken, errors: &FirstError) -> Started {
    // No stage starts before every thread has: a thread that cannot start drops its worker, and so its
    // channel ends, which a running stage would take for a failure or an early end of that stage.
    let (start_all, may_start) = crossbeam_channel::bounded::<()>(0);
    let (alive, over) = crossbeam_channel::bounded::<()>(0);
    let mut threads = Vec::with_capacity(workers.len());
    for worker in workers {
        let name = worker.name.clone();
        let (stop_, errors_, may_start, alive) =
            (stop.clone(), errors.clone(), may_start.clone(), alive.clone());
        let builder = thread::Builder::new().name(name.clone()).stack_size(STACK_BYTES);
        let spawned = builder.spawn(move || {
            // Dropped last, also by a panic.
            let _alive = alive;
            // Returns when `start_all` is dropped.
            let _ = may_start.recv();
            run_worker(worker, &stop_, &errors_);
        });
        match spawned {
            Ok(handle) => threads.push((name, handle)),
            Err(error) => {
                let failure = Failure::internal(format!("cannot start a thread: {error}"));
                record(errors, RunError { stage: name, failure }, stop);
                break;
            }
        }
    }
    let at = Instant::now();
    drop(start_all);
    Started { at, threads, over }
}

/// Waits until every thread has ended; after a stall only for a while. Whether some may hang.
fn wait_for(over: &Receiver<()>, stalled: &Receiver<()>, timeout: Duration) -> bool {
    crossbeam_channel::select! {
        recv(over) -> _ => false,
        recv(stalled) -> told => match told {
            Ok(()) => over.recv_timeout(timeout.clamp(GRACE.0, GRACE.1)).is_err_and(|e| e.is_timeout()),
            // There is no sampler.
            Err(_) => {
                let _ = over.recv();
                false
            }
        },
    }
}

fn run_worker(worker: Worker, stop: &StopToken, errors: &Mutex<Option<RunError>>) {
    let Worker { name, stage, enders, keepers, meter } = worker;
    if stop.is_tripped() {
        meter.switch(Activity::Done);
        return;
    }
    meter.switch(Activity::Busy);
    let ended = catch_unwind(AssertUnwindSafe(|| stage.run()));
    meter.switch(Activity::Done);
    let failure = match ended {
        Ok(Ok(()) | Err(StageError::Closed)) => {
            // Inputs first: a stage that ends early must not hold up the stages before it.
            drop(keepers);
            if !stop.is_tripped() {
                enders.into_iter().for_each(|ender| ender.end());
            }
            return;
        }
        Ok(Err(StageError::Stopped)) if stop.is_tripped() => return,
        Ok(Err(StageError::Stopped)) => Failure::internal("an input ended without its end mark"),
        Ok(Err(StageError::Failed(failure))) => failure,
        Err(panic) => panicked(panic.as_ref()),
    };
    record(errors, RunError { stage: name, failure }, stop);
    // Only now may the channels disconnect, by the drop of these: the token has tripped.
    drop((enders, keepers));
}

pub(crate) fn record(errors: &Mutex<Option<RunError>>, error: RunError, stop: &StopToken) {
    errors.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    stop.trip();
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::internal(format!("panicked: {}", text.unwrap_or("without a message")))
}

impl Status {
    /// The kind of the failure, if the run failed.
    pub fn error_kind(&self) -> Option<ErrorKind> {
        match self {
            Status::Failed(error) => Some(error.failure.kind),
            _ => None,
        }
    }
}
