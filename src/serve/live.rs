//! `live.json`: says, in the directory of a run, where the run can be watched while it lives.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use framewise_pipeline::Failure;
use framewise_stages::io as files;
use serde_json::json;

/// The name of the file.
pub(crate) const LIVE: &str = "live.json";

/// The file, which goes when this value is dropped. After a crash it stays until the run is resumed. Its address may then
/// belong to another program, so a reader must ask whether the process that it names still runs.
pub(super) struct LiveFile(PathBuf);

impl LiveFile {
    /// Writes the file.
    ///
    /// # Errors
    /// `CannotWrite`. The error names the file.
    pub(super) fn create(run_dir: &Path, address: SocketAddr, graph: &str) -> Result<Self, Failure> {
        let path = run_dir.join(LIVE);
        let live = json!({
            "version": 1,
            "graph": graph,
            "address": address.to_string(),
            "process": std::process::id(),
        });
        files::write_file(&path, format!("{live}\n").as_bytes())?;
        Ok(Self(path))
    }
}

impl Drop for LiveFile {
    fn drop(&mut self) {
        // A file that somebody else has removed is gone as it should be.
        let _ = std::fs::remove_file(&self.0);
    }
}
