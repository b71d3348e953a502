//! The time that threads and the process have spent on a core, and that threads have waited for one.
//!
//! Only Linux tells it for the threads of others. Elsewhere every answer is `None`.

use std::time::Duration;

/// A thread of this process whose times are read by others.
#[derive(Debug)]
pub(crate) struct Thread {
    /// The thread's statistics of the scheduler, where the kernel keeps them.
    #[cfg(target_os = "linux")]
    schedstat: Option<std::fs::File>,
    #[cfg(target_os = "linux")]
    id: i32,
}

/// The times of a thread.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Times {
    /// The time on a core.
    pub(crate) on_core: Option<Duration>,
    /// The time for which the thread could have run and had no core.
    pub(crate) queued: Option<Duration>,
}

#[cfg(target_os = "linux")]
impl Thread {
    /// The calling thread.
    pub(crate) fn current() -> Self {
        let schedstat = std::fs::File::open("/proc/thread-self/schedstat").ok();
        Self { schedstat, id: nix::unistd::gettid().as_raw() }
    }

    /// The times of the thread. All are `None` once the thread has ended and the kernel has removed its number.
    pub(crate) fn times(&self) -> Times {
        self.scheduled().unwrap_or_else(|| {
            // The kernel makes the number of a thread's clock in this way (`MAKE_THREAD_CPUCLOCK` of its header
            // posix-timers.h), and `pthread_getcpuclockid` of the C library does the same. For the number of a thread
            // that has ended, or of another process, reading the clock is an error.
            let clock = nix::time::ClockId::from_raw((!self.id << 3) | 0b110);
            Times { on_core: clock.now().ok().map(Duration::from), queued: None }
        })
    }

    /// The times in the statistics of the scheduler: nanoseconds on a core, nanoseconds in the queue, and a count.
    fn scheduled(&self) -> Option<Times> {
        use std::os::unix::fs::FileExt;

        let mut bytes = [0; 96];
        let length = self.schedstat.as_ref()?.read_at(&mut bytes, 0).ok()?;
        let mut numbers = std::str::from_utf8(&bytes[..length]).ok()?.split_whitespace();
        let mut next = || numbers.next()?.parse().ok().map(Duration::from_nanos);
        Some(Times { on_core: Some(next()?), queued: Some(next()?) })
    }
}

#[cfg(not(target_os = "linux"))]
impl Thread {
    /// The calling thread.
    pub(crate) fn current() -> Self {
        Self {}
    }

    /// The times of the thread, which this operating system does not tell.
    pub(crate) fn times(&self) -> Times {
        Times::default()
    }
}

/// The time that all threads of this process have spent on a core.
pub(crate) fn of_process() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    return nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID.now().ok().map(Duration::from);
    #[cfg(not(target_os = "linux"))]
    None
}

/// The time for which the threads of this process that live could have run and had no core, added up.
pub(crate) fn queued_of_process() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let threads = std::fs::read_dir("/proc/self/task").ok()?;
        // A thread may end while its file is read.
        let queued = threads.filter_map(|thread| {
            let schedstat = std::fs::File::open(thread.ok()?.path().join("schedstat")).ok();
            Thread { schedstat, id: 0 }.scheduled()?.queued
        });
        let queued: Vec<Duration> = queued.collect();
        (!queued.is_empty()).then(|| queued.iter().sum())
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_counts_and_sleep_does_not() {
        for with_statistics in [true, false] {
            let (threads, thread) = std::sync::mpsc::channel();
            let (go, went) = std::sync::mpsc::channel::<()>();
            let (worked, has_worked) = std::sync::mpsc::channel();
            let begin = Instant::now();
            let running = std::thread::spawn(move || {
                let mut own = Thread::current();
                if !with_statistics {
                    own.schedstat = None;
                }
                let _ = threads.send(own);
                // The number of steps is fixed, so the thread ends on a machine of any speed.
                let mut sum = 0_u64;
                for step in 0..50_000_000_u64 {
                    sum = std::hint::black_box(sum.wrapping_add(step));
                }
                let _ = worked.send(());
                let _ = went.recv();
            });
            let thread = thread.recv().unwrap();
            let before = thread.times().on_core.unwrap();
            has_worked.recv().unwrap();
            let after = thread.times();
            let on_core = after.on_core.unwrap();
            // The kernel brings the statistics of a running thread up to date at its ticks.
            let slack = Duration::from_millis(50);
            assert!(on_core > before && on_core <= begin.elapsed() + slack, "{after:?}");
            if let Some(queued) = after.queued {
                assert!(on_core + queued <= begin.elapsed() + slack, "{after:?}");
            }
            std::thread::sleep(Duration::from_millis(100));
            let slept = thread.times().on_core.unwrap();
            assert!(slept - on_core < slack, "{on_core:?} and then {slept:?}");
            assert!(of_process().unwrap() >= on_core);
            drop(go);
            running.join().unwrap();
            // A thread can be joined shortly before the kernel has removed its number.
            while thread.times() != Times::default() {
                assert!(
                    begin.elapsed() < Duration::from_secs(60),
                    "the thread has ended: {:?}",
                    thread.times()
                );
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
