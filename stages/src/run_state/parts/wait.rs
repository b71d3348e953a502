//! Waiting for other ranks.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use framewise_pipeline::StageContext;

/// The time from one sign of life to the next.
const EVERY: Duration = Duration::from_millis(200);

/// Does what waits for other ranks. Meanwhile the stage counts as alive: another rank may have much more to do than this one,
/// and one that hangs is found out where it hangs.
pub(crate) fn while_waiting<R>(context: &StageContext, work: impl FnOnce() -> R) -> R {
    let _task = context.meter.begin_task("waiting for other ranks");
    let (over, waits) = channel::<()>();
    thread::scope(|scope| {
        let alive = move || {
            while waits.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                context.meter.touch();
            }
        };
        // Without the thread, a long wait may be taken for a stall. That is no reason not to try.
        let _ = thread::Builder::new().name("alive".into()).spawn_scoped(scope, alive);
        let done = work();
        drop(over);
        done
    })
}
