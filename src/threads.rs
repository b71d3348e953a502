//! The settings of the process that must stand before its first thread starts: the number of threads, and the memory
//! that is kept.
//!
//! Law: the settings change how fast a run is, but never its result.

/// The variable with the number of threads of every computation. Without it, candle asks the system for the number of
/// cores before every matrix product. Each time it opens and parses /proc/cpuinfo, which took two thirds of a
/// quickstart run on two cores.
const THREADS: &str = "RAYON_NUM_THREADS";

/// The variable that says how long the allocator keeps freed memory before it returns it to the system; -1 is for ever.
/// A training step frees and fetches the same gigabytes again and again. With the allocator's default, faulting the
/// pages in took 1 to 2 seconds of a 4 second step at full size.
const KEEP_MEMORY: &str = "MIMALLOC_PURGE_DELAY";

/// Sets both variables, unless the user has set them.
///
/// A process cannot safely set a variable of its own environment, and the allocator has read its variable by now. So
/// the process starts itself again in place, with the variables set and the same arguments.
#[cfg(unix)]
pub(crate) fn settle() {
    use std::os::unix::process::CommandExt;

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = [(THREADS, cores.to_string()), (KEEP_MEMORY, "-1".to_owned())];
    let missing: Vec<_> = wanted.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
    let (false, Ok(program)) = (missing.is_empty(), std::env::current_exe()) else { return };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // `exec` returns only if it failed, for example because the program's file was replaced. Then the run is slower,
    // but not wrong.
    let _ = again.args(arguments).envs(missing).exec();
}

/// Does nothing on systems where a process cannot start itself again in place.
#[cfg(not(unix))]
pub(crate) fn settle() {}
