//! A pipeline: a graph whose channels and stages are made, from [`Pipeline::build`] to the outcome of
//! [`Pipeline::run`].

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use super::build::{Builder, Wired};
use super::monitor::Monitor;
use super::options::RunOptions;
use super::outcome::{FirstError, Outcome, RunError, Status};
use super::sampler::{SAMPLE_EVERY, Sampler};
use super::watchdog::Watchdog;
use super::worker::{Worker, start};
use crate::edge::budget::Budget;
use crate::edge::error::Failure;
use crate::edge::meter::StageMeter;
use crate::edge::stop::StopToken;
use crate::graph::ResolvedGraph;
use crate::stage::component::Registry;
use crate::stage::context::{Observer, Results};

/// A wired graph, ready to run.
pub struct Pipeline {
    workers: Vec<Worker>,
    monitor: Monitor,
    stop: StopToken,
    results: Arc<Results>,
    stall_timeout: Option<Duration>,
    patience: Option<Duration>,
    inside: Option<Arc<StageMeter>>,
    observer: Arc<dyn Observer>,
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
    /// The first stage that cannot be built, or a rank in the options that is not less than their number of ranks.
    pub fn build(graph: &ResolvedGraph, registry: &Registry, options: &RunOptions) -> Result<Self, RunError> {
        check_rank(options)?;
        let results = Arc::new(Results::default());
        let budget = graph.memory.map(|cap| Arc::new(Budget::new(cap)));
        let builder = Builder { graph, registry, options, results: &results, budget: budget.as_ref() };
        let Wired { stages, edges, probes, units } = builder.wire();
        let monitor = builder.monitor(&stages, edges, probes, units);
        let workers = builder.build_stages(stages)?;
        Ok(Self {
            workers,
            monitor,
            stop: options.stop.clone(),
            results,
            stall_timeout: graph.stall_timeout,
            patience: options.patience,
            inside: options.inside.clone(),
            observer: options.observer.clone(),
        })
    }

    /// The live readings. Cloning is cheap, and they stay readable after the run.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Runs every stage to its end or to the first failure.
    ///
    /// The method returns when every thread has ended. Only after a stall it does not wait for the threads that hang:
    /// those keep what they hold until the process ends.
    pub fn run(self) -> Outcome {
        let Self { workers, monitor, stop, results, stall_timeout, patience, inside, observer } = self;
        let errors = FirstError::default();
        let (all_done, done) = crossbeam_channel::bounded::<()>(0);
        let (stalls, stalled) = crossbeam_channel::bounded(1);
        let sampler = Sampler {
            monitor: monitor.clone(),
            watchdog: Watchdog::new(stall_timeout, SAMPLE_EVERY),
            timeout: stall_timeout.unwrap_or_default(),
            inside,
            observer: observer.clone(),
            stop: stop.clone(),
            errors: errors.clone(),
            stalls,
            patience,
        };
        let sampler = thread::Builder::new().name("sampler".into()).spawn(move || sampler.run(&done));
        let started = start(workers, &monitor, &stop, &errors);
        started.join(&stalled, &*observer, &errors, &stop);
        drop(all_done);
        if let Ok(sampler) = sampler {
            // A run without a sampler, or with a recorder that panics, is only harder to observe.
            let _ = sampler.join();
        }
        let wall_seconds = monitor.finish();
        let outside = stop.take_failure().map(|failure| RunError { stage: String::new(), failure });
        let status = match outside.or(errors.lock().unwrap_or_else(PoisonError::into_inner).take()) {
            Some(error) => Status::Failed(error),
            None if stop.is_tripped() => Status::Stopped,
            None if stop.finish_requested() => Status::FinishedEarly,
            None => Status::Done,
        };
        Outcome { status, wall_seconds, results: results.all(), monitor }
    }
}

/// Refuses a rank that does not exist.
fn check_rank(options: &RunOptions) -> Result<(), RunError> {
    let RunOptions { rank, ranks, .. } = options;
    if rank < ranks {
        return Ok(());
    }
    let failure = Failure::config(format!("rank {rank} of {ranks} does not exist: ranks count from 0"));
    Err(RunError { stage: String::new(), failure })
}
