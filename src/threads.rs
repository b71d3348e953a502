//! How many threads computations use.
//!
//! Law: the number is settled before the first thread starts, and never changes a result.

/// Settles the number of threads by `RAYON_NUM_THREADS`, unless the user has.
///
/// Without the variable candle asks the system for the number of cores before every matrix product: it opens and
/// parses /proc/cpuinfo each time, which took two thirds of a quickstart run on two cores. A process cannot safely set a
/// variable of its own environment, so this one starts itself again with it, in place: same process, same arguments.
#[cfg(unix)]
pub(crate) fn settle() {
    use std::os::unix::process::CommandExt;

    const VARIABLE: &str = "RAYON_NUM_THREADS";
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let (Ok(cores), Ok(program)) = (std::thread::available_parallelism(), std::env::current_exe()) else { return };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Returns only if it failed (the program's file was replaced, say). Then the run is slower, not wrong.
    let _ = again.args(arguments).env(VARIABLE, cores.to_string()).exec();
}

/// Does nothing where a process cannot start itself again in place.
#[cfg(not(unix))]
pub(crate) fn settle() {}
