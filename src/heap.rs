//! The allocator, and with the feature `heap-log` a log of the bytes of the heap that are in use.
//!
//! Resident memory cannot tell a small leak: with 1.5 MiB in use, where the allocator puts blocks decides whether 20 or
//! 45 MiB are resident. The soak (`tests/soak.rs`) is built with the feature and reads the log.

// The system allocator spends a large part of a data-bound run on the buffers of records.
#[cfg(not(feature = "heap-log"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "heap-log")]
#[global_allocator]
static ALLOCATOR: cap::Cap<mimalloc::MiMalloc> = cap::Cap::new(mimalloc::MiMalloc, usize::MAX);

/// The variable that names the log's file.
#[cfg(feature = "heap-log")]
const LOG: &str = "FRAMEWISE_HEAP_LOG";

/// Writes a line a second: the fewest bytes in use in that second, by a look each millisecond. Nothing without the variable
/// `FRAMEWISE_HEAP_LOG`.
///
/// # Errors
///
/// A file that cannot be created, or no thread.
#[cfg(feature = "heap-log")]
pub(crate) fn log() -> std::io::Result<()> {
    use std::io::Write;
    use std::time::{Duration, Instant};

    let Some(path) = std::env::var_os(LOG) else { return Ok(()) };
    let mut file = std::fs::File::create(path)?;
    std::thread::Builder::new().name("heap-log".to_owned()).spawn(move || {
        loop {
            let second = Instant::now();
            let mut fewest = usize::MAX;
            while second.elapsed() < Duration::from_secs(1) {
                fewest = fewest.min(ALLOCATOR.allocated());
                std::thread::sleep(Duration::from_millis(1));
            }
            // One write: a reader sees whole lines.
            if file.write_all(format!("{fewest}\n").as_bytes()).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
