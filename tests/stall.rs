//! A run of the binary in which nothing moves ends by itself, with a report and without a result; a process that was
//! stopped and goes on has not stalled.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cli_support::{Desk, Said, copy_graph, graph, names};

fn fifo(desk: &Desk, name: &str) -> String {
    let path = desk.path(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path.display().to_string()
}

#[test]
fn a_reader_that_hangs_in_the_system_is_left_behind() {
    let desk = Desk::new();
    // Nobody ever writes into it: the reader's thread hangs while it opens the file.
    let files = fifo(&desk, "videos.tfrecord");
    desk.write("copy.toml", &copy_graph(&files, 12, 12, 9));
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
    let more = ["--set", "stages.videos.epochs=1000000", "--set", "stages.report.every_steps=2"];
    let mut command = desk.command(&[&args[..], &more].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let send = |signal: &str| {
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    };
    let lines =
        || std::fs::read_to_string(desk.path("run/metrics.jsonl")).unwrap_or_default().lines().count();
    let wait_for = |count: usize| {
        for _ in 0..6000 {
            if lines() >= count {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} lines after a minute", lines());
    };
    wait_for(1);
    send("-STOP");
    // Several timeouts by any clock.
    std::thread::sleep(Duration::from_millis(3500));
    send("-CONT");
    // It goes on.
    wait_for(lines() + 3);
    send("-INT");
    let said = Said::of(child.wait_with_output().unwrap()).expect(130);
    assert!(!said.err.contains("stalled") && !said.err.contains("nothing moves"), "{}", said.err);
}
