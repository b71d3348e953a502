//! The threads of a run, one for each stage.
//!
//! Laws:
//!
//! - `End` is sent only for a stage that returned `Ok`.
//! - The first failure or panic is recorded and trips the stop token *before* the channel ends of that stage are
//!   dropped. So no other stage can mistake a failure for an end.
//! - A run in which nothing moves any more ends too. It ends without the threads that hang (see [`super::stall`]).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::monitor::Monitor;
use super::outcome::{FirstError, RunError, panicked, record};
use crate::edge::error::{Failure, StageError};
use crate::edge::meter::{Activity, StageMeter};
use crate::edge::port::Ender;
use crate::edge::stop::StopToken;
use crate::stage::Stage;
use crate::stage::context::{Level, Observer};

/// The stack size of a stage's thread. It is large because candle walks a tape recursively.
const STACK_BYTES: usize = 16 << 20;

/// A stage that is built and wired, with what the engine keeps for it until it has ended.
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) stage: Box<dyn Stage>,
    pub(super) enders: Vec<Box<dyn Ender>>,
    pub(super) keepers: Vec<Box<dyn Any + Send>>,
    pub(super) meter: Arc<StageMeter>,
}

/// The running threads of the stages.
pub(super) struct Started {
    threads: Vec<(String, JoinHandle<()>)>,
    /// A receiver that disconnects when all threads have ended.
    over: Receiver<()>,
}

/// Starts a thread for each stage, and the clocks of all stages at the moment at which they may run.
pub(super) fn start(
    workers: Vec<Worker>,
    monitor: &Monitor,
    stop: &StopToken,
    errors: &FirstError,
) -> Started {
    // No stage starts before every thread has started. A thread that cannot start drops its worker with its channel
    // ends, which a running stage would take for a failure or an early end of that stage.
    let (start_all, may_start) = crossbeam_channel::bounded::<()>(0);
    let (alive, over) = crossbeam_channel::bounded::<()>(0);
    let mut threads = Vec::with_capacity(workers.len());
    let mut meters = Vec::with_capacity(workers.len());
    for worker in workers {
        let (name, meter) = (worker.name.clone(), worker.meter.clone());
        let (stop_, errors_, may_start, alive) =
            (stop.clone(), errors.clone(), may_start.clone(), alive.clone());
        let builder = thread::Builder::new().name(name.clone()).stack_size(STACK_BYTES);
        let spawned = builder.spawn(move || {
            // This is dropped last, also by a panic.
            let _alive = alive;
            // This returns when `start_all` is dropped.
            let _ = may_start.recv();
            run_worker(worker, &stop_, &errors_);
        });
        match spawned {
            Ok(handle) => {
                threads.push((name, handle));
                meters.push(meter);
            }
            Err(error) => {
                let failure = Failure::internal(format!("cannot start a thread: {error}"));
                record(errors, RunError { stage: name, failure }, stop);
                break;
            }
        }
    }
    monitor.begin(meters.iter().map(AsRef::as_ref));
    drop(start_all);
    Started { threads, over }
}

impl Started {
    /// Waits until every thread has ended; after a stall only for a while, and not for those that hang then.
    pub(super) fn join(
        self,
        stalled: &Receiver<Duration>,
        observer: &dyn Observer,
        errors: &FirstError,
        stop: &StopToken,
    ) {
        let hang = wait_for(&self.over, stalled);
        for (stage, handle) in self.threads {
            if hang && !handle.is_finished() {
                let text = "hangs and is left behind; what it was writing is not committed";
                observer.message(Level::Warning, &stage, text);
                continue;
            }
            // `run_worker` catches the panics of a stage's body. This panic came from a value that was dropped after
            // it.
            if let Err(panic) = handle.join() {
                record(errors, RunError { stage, failure: panicked(panic.as_ref()) }, stop);
            }
        }
    }
}

/// Waits until every thread has ended. After a stall it waits only for the time that `stalled` brings. Returns `true` if
/// some thread may hang.
fn wait_for(over: &Receiver<()>, stalled: &Receiver<Duration>) -> bool {
    crossbeam_channel::select! {
        recv(over) -> _ => false,
        recv(stalled) -> told => match told {
            Ok(grace) => over.recv_timeout(grace).is_err_and(|e| e.is_timeout()),
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
    meter.thread_begins();
    let ended = catch_unwind(AssertUnwindSafe(|| stage.run()));
    meter.thread_ends();
    meter.switch(Activity::Done);
    let failure = match ended {
        Ok(Ok(()) | Err(StageError::Closed)) => {
            // The inputs go first, because a stage that ends early must not hold up the stages before it.
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
    // Only now may the channels disconnect, which the drop of these does. The token has tripped.
    drop((enders, keepers));
}
