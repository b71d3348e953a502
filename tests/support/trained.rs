//! A run of the quickstart graph with checkpoints of steps 9 and 18, in the state in which the binary left it.
#![cfg(unix)]

use std::sync::OnceLock;

use tempfile::TempDir;

use crate::support::cli::{Desk, Said, graph};
use crate::support::files::copy;
use crate::support::run::checkpoint_bytes;

/// Arguments for a checkpoint after each epoch of nine steps, and for no evaluation.
pub(crate) const EVERY: [&str; 4] =
    ["--set", "stages.checkpoint.every_epochs=1", "--set", "stages.evaluate.every_epochs=0"];

/// Arguments for a checkpoint and an evaluation after each epoch, as often as a later argument does not say otherwise.
pub(crate) const MEASURED: [&str; 4] =
    ["--set", "stages.checkpoint.every_epochs=1", "--set", "stages.evaluate.every_epochs=1"];

pub(crate) fn quickstart(desk: &Desk, args: &[&str]) -> Said {
    desk.framewise(&[&["run", &graph("quickstart.toml")], &EVERY[..], args].concat())
}

/// Puts a run of two epochs with checkpoints of steps 9 and 18 into the directory `run`. The run is the same for every
/// test.
pub(crate) fn trained() -> Desk {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        let desk = Desk::new();
        quickstart(&desk, &["--run-dir", "run", "--set", "stages.videos.epochs=2"]).expect(0);
        let kept = tempfile::tempdir().unwrap();
        copy(&desk.path("run"), kept.path());
        kept
    });
    let desk = Desk::new();
    copy(run.path(), &desk.path("run"));
    desk
}

/// What a run of `epochs` epochs ends with if it is never interrupted.
pub(crate) fn in_one_go(epochs: u64) -> Vec<(String, Vec<u8>)> {
    let desk = Desk::new();
    quickstart(&desk, &["--run-dir", "run", "--set", &format!("stages.videos.epochs={epochs}")]).expect(0);
    checkpoint_bytes(&desk.path("run"))
}

/// The command that a summary prints.
pub(crate) fn command_in(said: &Said) -> String {
    let (_, command) =
        said.out.split_once("\ngo on with").unwrap_or_else(|| panic!("no command\n{}", said.out));
    // A long command goes on in further lines, each behind a backslash.
    let lines: Vec<&str> = command.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.iter().map(|line| line.trim_end_matches('\\').trim()).collect::<Vec<_>>().join(" ")
}
