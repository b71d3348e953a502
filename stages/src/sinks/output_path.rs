//! The outputs of writers: where they lie, and how they are opened.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use framewise_pipeline::{Failure, StageContext, StageError};

use crate::io::{self, Output, Way};

/// The time after which a writer that waits for the reader of a FIFO looks again whether the run is stopped.
const STOP_EVERY: Duration = Duration::from_millis(50);

/// Resolves the `path` of a writer. A relative path lies in the run directory, and `-` is standard output.
pub(super) fn output_path(path: &Path, context: &StageContext) -> PathBuf {
    match &context.run_dir {
        Some(dir) if !io::is_standard_output(path) => dir.join(path),
        _ => path.to_owned(),
    }
}

/// The way in which the output at `path` will be written. What must not be written is refused before the run begins.
///
/// # Errors
/// `CannotWrite`, which names the path and what is there.
pub(super) fn check_output(path: &Path) -> Result<Way, Failure> {
    Ok(io::way_to(path)?)
}

/// Opens an output. Where it has to wait for the reader of a FIFO, the wait ends when the run is stopped.
///
/// # Errors
/// `CannotWrite`, which names the path, and `Stopped` when the run is stopped.
pub(super) fn open_output(path: &Path, context: &StageContext) -> Result<Output, StageError> {
    if check_output(path)? != Way::Stream {
        return Ok(io::create(path).map_err(Failure::from)?);
    }
    // The system call that waits cannot be interrupted, so another thread makes it. If the run is stopped first, that
    // thread stays behind until the process ends, and has written nothing.
    let (sender, opened) = mpsc::channel();
    let wanted = path.to_owned();
    let open = move || sender.send(io::create(&wanted)).unwrap_or_default();
    std::thread::Builder::new()
        .name("open a stream".into())
        .spawn(open)
        .map_err(|e| Failure::internal(format!("cannot start a thread: {e}")))?;
    loop {
        match opened.recv_timeout(STOP_EVERY) {
            Ok(output) => return Ok(output.map_err(Failure::from)?),
            Err(RecvTimeoutError::Timeout) if context.stop.is_tripped() => return Err(StageError::Stopped),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::internal("the thread that opens a stream has ended without it").into());
            }
        }
    }
}
