//! Laws: a run of the binary in which nothing moves ends by itself, with a report and without a result. A process that
//! was paused and continues has not stalled.
#![cfg(unix)]

use std::time::Duration;

use crate::support::child::{ENDLESS, end, send, start, wait_until};
use crate::support::cli::{Desk, copy_graph, graph, names};
use crate::support::files::make_pipe;

#[test]
fn a_reader_that_hangs_in_the_system_is_left_behind() {
    let desk = Desk::new();
    // Nobody ever writes into this pipe, so the reader's thread hangs while it opens the file.
    let files = desk.path("videos.tfrecord");
    make_pipe(&files);
    desk.write("copy.toml", &copy_graph(&files.display().to_string(), 12, 12, 9));
    let args =
        ["run", "copy.toml", "--run-dir", "run", "--format", "json", "--set", "graph.stall_timeout=1s"];
    let said = desk.framewise(&args).expect(75);
    let result: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(result["error"]["stage"], "videos");
    assert_eq!(result["error"]["exit_code"], 75);
    let message = result["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("the run stalled: nothing moved for 1 s while `videos` was busy"),
        "{message}"
    );
    for line in [
        "  videos: busy for ",
        "  decode: waiting for input records for ",
        "  out: waiting for input examples for ",
        "  videos.records -> decode.records: 0 of ",
        "videos: hangs and is left behind",
    ] {
        assert!(said.err.contains(line), "{line}: {}", said.err);
    }
    let log = desk.read("run/log.jsonl");
    assert!(log.contains("waiting for input records"), "{log}");
    assert!(!names(&desk.path("run")).contains(&"copy.tfrecord".to_owned()));
}

#[test]
fn a_process_that_was_stopped_has_not_stalled() {
    let desk = Desk::new();
    let path = graph("quickstart.toml");
    let args = ["run", &path, "--run-dir", "run", "--set", "graph.stall_timeout=1s"];
    let more = ["--set", ENDLESS, "--set", "stages.report.every_steps=2"];
    let child = start(&desk, &[&args[..], &more].concat());
    let lines =
        || std::fs::read_to_string(desk.path("run/metrics.jsonl")).unwrap_or_default().lines().count();
    wait_until("a report", || lines() > 0);
    send(&child, "-STOP");
    // By any clock, this is several timeouts.
    std::thread::sleep(Duration::from_millis(3500));
    send(&child, "-CONT");
    // The run continues.
    let before = lines();
    wait_until("more reports", || lines() >= before + 3);
    send(&child, "-INT");
    let said = end(child).expect(130);
    assert!(!said.err.contains("stalled") && !said.err.contains("nothing moves"), "{}", said.err);
}
