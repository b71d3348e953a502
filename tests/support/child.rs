//! Runs of the binary that continue beside the test, and signals to them.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::cli::{Desk, Said, graph};

/// A number of epochs that is more than any test waits for.
pub(crate) const ENDLESS: &str = "stages.videos.epochs=1000000";

pub(crate) fn start(desk: &Desk, args: &[&str]) -> Child {
    desk.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "timed out: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn end(child: Child) -> Said {
    Said::of(child.wait_with_output().unwrap())
}

/// Waits for the end of a run, which must come within this time.
#[track_caller]
pub(crate) fn end_within(limit: Duration, mut child: Child) -> Said {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > limit {
            child.kill().unwrap();
            let said = end(child);
            panic!("it runs after {limit:?}; stdout:\n{}\nstderr:\n{}", said.out, said.err);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    end(child)
}

pub(crate) fn has_line(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'))
}

/// A training run that has made some steps.
pub(crate) fn training(desk: &Desk, format: &str) -> Child {
    let path = graph("quickstart.toml");
    let every = ["--set", "stages.report.every_steps=2", "--set", "stages.evaluate.every_epochs=0"];
    let args =
        [&["run", &path, "--run-dir", "run", "--format", format, "--set", ENDLESS], &every[..]].concat();
    let child = start(desk, &args);
    wait_until("a report", || has_line(&desk.path("run/metrics.jsonl")));
    child
}
