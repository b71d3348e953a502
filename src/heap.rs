//! The allocator, and with the feature `heap-log` a log of the bytes of the heap that are in use.
//!
//! Resident memory cannot show a small leak. With 1.5 MiB in use, it depends on where the allocator puts blocks whether
//! 20 or 45 MiB are resident. The soak test (`tests/reliability/soak.rs`) is built with the feature and reads the log.

// With the system allocator, a large part of a data-bound run goes into the buffers of records.
#[cfg(all(feature = "mimalloc", not(feature = "heap-log")))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "heap-log")]
#[global_allocator]
static ALLOCATOR: cap::Cap<mimalloc::MiMalloc> = cap::Cap::new(mimalloc::MiMalloc, usize::MAX);

/// The environment variable that names the file of the log.
#[cfg(feature = "heap-log")]
const LOG: &str = "FRAMEWISE_HEAP_LOG";

/// Starts the log, if the variable `FRAMEWISE_HEAP_LOG` is set. Each second it gets a line with the fewest and the most
/// bytes in use in that second, from a look each millisecond.
///
/// # Errors
/// The file cannot be created, or the thread cannot be started.
#[cfg(feature = "heap-log")]
pub(crate) fn log() -> std::io::Result<()> {
    use std::io::Write;
    use std::time::{Duration, Instant};

    let Some(path) = std::env::var_os(LOG) else { return Ok(()) };
    let mut file = std::fs::File::create(path)?;
    std::thread::Builder::new().name("heap-log".to_owned()).spawn(move || {
        loop {
            let second = Instant::now();
            let (mut fewest, mut most) = (usize::MAX, 0);
            while second.elapsed() < Duration::from_secs(1) {
                let now = ALLOCATOR.allocated();
                (fewest, most) = (fewest.min(now), most.max(now));
                std::thread::sleep(Duration::from_millis(1));
            }
            // The line is one write, so that a reader sees whole lines.
            if file.write_all(format!("{fewest} {most}\n").as_bytes()).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
