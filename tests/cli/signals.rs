//! Tests of Ctrl-C, SIGTERM and SIGHUP, sent to the binary.
#![cfg(unix)]

use crate::support::child::{end, has_line, send, start, training, wait_until};
use crate::support::cli::{Desk, graph, names};

#[test]
fn the_first_ctrl_c_ends_training_with_a_checkpoint() {
    for (signal, format) in [("-INT", "text"), ("-TERM", "json")] {
        let desk = Desk::new();
        let child = training(&desk, format);
        send(&child, signal);
        let said = end(child).expect(130);
        assert!(said.err.contains("finishing the step in hand and writing a checkpoint"), "{}", said.err);
        let checkpoint =
            names(&desk.path("run/checkpoints")).into_iter().rfind(|n| n.starts_with("step-")).unwrap();
        if format == "text" {
            assert!(
                said.out.contains(&format!("last checkpoint  run/checkpoints/{checkpoint}")),
                "{}",
                said.out
            );
            assert!(said.out.contains("interrupted in"), "{}", said.out);
        } else {
            let result: serde_json::Value = serde_json::from_str(&said.out).unwrap();
            assert_eq!(result["status"], "interrupted");
            assert!(said.err.contains(&checkpoint), "{}", said.err);
        }
        // The checkpoint is whole.
        desk.framewise(&["inspect", "--verify", "run"]).expect(0);
    }
}

#[test]
fn the_second_ctrl_c_stops_at_once() {
    let desk = Desk::new();
    let child = training(&desk, "text");
    // The first signal may end the run before the second one arrives, so both are sent as close together as possible.
    send(&child, "-INT");
    send(&child, "-INT");
    let said = end(child).expect(130);
    assert!(said.err.contains("press Ctrl-C again to stop at once"), "{}", said.err);
}

#[test]
fn a_graph_that_does_not_train_stops_at_the_first_and_commits_nothing() {
    let desk = Desk::new();
    desk.write(
        "endless.toml",
        "[stages.videos]\ntype = \"synthetic_videos\"\nvideos = 100000000\n\n\
         [stages.out]\ntype = \"tfrecord_writer\"\nfrom = \"videos\"\npath = \"videos.tfrecord\"\n",
    );
    let child = start(&desk, &["run", "endless.toml", "--run-dir", "run"]);
    let writing = || {
        desk.path("run").is_dir() && names(&desk.path("run")).iter().any(|n| n.contains("videos.tfrecord"))
    };
    wait_until("the file begun", writing);
    send(&child, "-TERM");
    let said = end(child).expect(130);
    assert!(said.err.contains("stopping"), "{}", said.err);
    assert!(said.out.contains("interrupted"), "{}", said.out);
    assert!(!desk.path("run/videos.tfrecord").exists());
}

#[test]
fn a_terminal_that_goes_away_ends_nothing() {
    let desk = Desk::new();
    let child = training(&desk, "text");
    send(&child, "-HUP");
    let told = || desk.read("run/log.jsonl").contains("the terminal has gone away (SIGHUP); the run goes on");
    wait_until("the message", told);
    let lines = || desk.read("run/metrics.jsonl").lines().count();
    let before = lines();
    wait_until("more steps", || lines() > before + 1);
    // SIGHUP does not count as a request to end, so the next signal is the first.
    send(&child, "-TERM");
    let said = end(child).expect(130);
    assert!(said.err.contains("finishing the step in hand and writing a checkpoint"), "{}", said.err);
    desk.framewise(&["inspect", "--verify", "run"]).expect(0);
}

#[test]
fn readers_that_go_away_while_it_trains_end_nothing() {
    let desk = Desk::new();
    let path = graph("quickstart.toml");
    let few = ["--set", "stages.videos.epochs=2", "--set", "stages.report.every_steps=1", "-v"];
    let mut child = start(&desk, &[&["run", &path, "--run-dir", "run"], &few[..]].concat());
    wait_until("a report", || has_line(&desk.path("run/metrics.jsonl")));
    drop(child.stdout.take());
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // 270 videos in batches of 30, twice.
    desk.framewise(&["inspect", "--verify", "run/checkpoints/step-00000018"]).expect(0);
}
