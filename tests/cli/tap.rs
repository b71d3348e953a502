//! `framewise tap`: what passes an edge against what was written to the files, and what it leaves alone.

#[cfg(unix)]
use std::time::Duration;

use framewise_stages::payload::Rows;
use serde_json::Value;

#[cfg(unix)]
use crate::support::child::start;
#[cfg(unix)]
use crate::support::cli::Said;
use crate::support::cli::{Desk, copy_graph, graph, graph_text, names};
use crate::support::records::Records;
#[cfg(unix)]
use crate::support::watched::Watched;

fn tapped(desk: &Desk, args: &[&str]) -> Value {
    let said = desk.framewise(&[&["tap", "--format", "json"], args].concat()).expect(0);
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}\n{}", said.out))
}

fn array<'v>(packet: &'v Value, name: &str) -> &'v Value {
    let mut arrays = packet["arrays"].as_array().unwrap().iter();
    arrays.find(|array| array["name"] == name).unwrap_or_else(|| panic!("no {name} in {packet}"))
}

/// Checks an array of bytes against the bytes.
#[track_caller]
fn assert_bytes(array: &Value, rows: usize, bytes: &Rows) {
    let bytes = bytes.to_vec();
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    assert_eq!(array["shape"], serde_json::json!([rows, bytes.len() / rows]));
    assert_eq!(array["min"].as_f64(), Some(f64::from(*bytes.iter().min().unwrap())));
    assert_eq!(array["max"].as_f64(), Some(f64::from(*bytes.iter().max().unwrap())));
    assert!((array["mean"].as_f64().unwrap() - sum as f64 / bytes.len() as f64).abs() < 1e-9);
    let first: Vec<u64> =
        array["first"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as u64).collect();
    assert_eq!(first, bytes.iter().take(5).map(|byte| u64::from(*byte)).collect::<Vec<_>>());
}

#[test]
fn what_passes_is_what_the_file_holds() {
    let desk = Desk::new();
    let records = Records::frame_level(7).sizes(6, 3).frames(|video| 2 + video);
    let path = records.write(&desk.path("videos.tfrecord"));
    desk.write("graph.toml", &copy_graph(&path, 6, 3, 10));
    let view = tapped(&desk, &["graph.toml", "decode", "--count", "4"]);
    let packets = view["packets"].as_array().unwrap();
    assert_eq!(packets.len(), 4, "{view}");
    for (index, packet) in packets.iter().enumerate() {
        let expected = records.example(index);
        assert_eq!(packet["ids"], serde_json::json!([expected.id]));
        assert_bytes(array(packet, "rgb"), expected.frames, &expected.rgb);
        assert_bytes(array(packet, "audio"), expected.frames, &expected.audio);
        assert!(packet["item"].as_str().unwrap().contains(&format!("record {index} at byte")), "{packet}");
    }
    // Of fewer items than are wanted, all are shown, with the mark behind them.
    let all = desk.framewise(&["tap", "graph.toml", "decode.examples", "--count", "100"]).expect(0);
    assert!(
        all.out.contains("end of epoch 1") && all.out.ends_with("the end, after 7 items\n"),
        "{}",
        all.out
    );
    assert_eq!(names(&desk.path("")), ["graph.toml", "videos.tfrecord"]);
}

#[test]
fn a_port_in_the_loop_is_seen_while_the_graph_trains() {
    let desk = Desk::new();
    let quickstart = graph("quickstart.toml");
    let view = tapped(&desk, &[&quickstart, "forward", "--count", "3"]);
    for (index, packet) in view["packets"].as_array().unwrap().iter().enumerate() {
        let logits = array(packet, "logits");
        assert_eq!((&logits["shape"], &logits["non_finite"]), (&serde_json::json!([30, 9]), &0.into()));
        assert_eq!(packet["item"], format!("step {}, epoch 1", index + 1));
        assert_eq!(packet["videos"], 30);
    }
    // The weights change with each step, and the first version is the one that was drawn.
    let view = tapped(&desk, &[&quickstart, "optimizer.weights", "--count", "2"]);
    let packets = view["packets"].as_array().unwrap();
    let weights = |packet: &Value| array(packet, "rgb.expand.weight")["first"].clone();
    assert_eq!((&packets[0]["item"], &packets[1]["item"]), (&"version 0".into(), &"version 1".into()));
    assert_ne!(weights(&packets[0]), weights(&packets[1]));
    for port in
        ["loss.losses", "loss.predictions", "backward", "all_reduce", "optimizer.states", "batch", "evaluate"]
    {
        let view = tapped(&desk, &[&quickstart, port, "--count", "1"]);
        assert!(!view["packets"][0]["arrays"].as_array().unwrap().is_empty(), "{port}: {view}");
    }
    assert_eq!(names(&desk.path("")), [""; 0]);
}

#[test]
fn a_stage_or_port_that_is_not_there_is_told_with_what_there_is() {
    let desk = Desk::new();
    let path = desk.write("quickstart.toml", &graph_text("quickstart.toml")).display().to_string();
    for (port, expected) in [
        ("decoed", "there is no stage `decoed` in the graph `quickstart`; did you mean `decode`?"),
        ("xyz", "its stages are `videos`, `decode`"),
        ("loss.loss", "stage `loss` has no output `loss`; its outputs are `losses`, `predictions`"),
        ("batch.x", "stage `batch` has no output `x`; its output is `batches`"),
        ("checkpoint", "stage `checkpoint` has no output; look at a stage before it: `evaluate.states`"),
    ] {
        let said = desk.framewise(&["tap", &path, port]).expect(64);
        assert!(said.err.contains(expected), "{port}: {}", said.err);
    }
}

#[cfg(unix)]
#[test]
fn a_run_that_goes_on_is_looked_at_and_loses_nothing() {
    let mut watched = Watched::start();
    // The look may begin at any moment, so videos come until it has seen enough.
    let address = watched.address.clone();
    for run in [address.as_str(), "run"] {
        let arguments = ["tap", run, "decode", "--count", "3", "--format", "json"];
        let mut child = start(&watched.desk, &arguments);
        while child.try_wait().unwrap().is_none() {
            watched.give(1);
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = Said::of(child.wait_with_output().unwrap()).expect(0);
        let view: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!((&view["port"], &view["waited"]), (&"decode.examples".into(), &Value::Null));
        assert!(view["left_out"].is_u64(), "{view}");
        let packets = view["packets"].as_array().unwrap();
        assert_eq!(packets.len(), 3);
        let example = Records::frame_level(1).example(0);
        for packet in packets {
            assert_eq!(packet["ids"], serde_json::json!(["video-0"]));
            assert_bytes(array(packet, "rgb"), example.frames, &example.rgb);
        }
    }
    // What is not there is told with what there is, and so is `--set`, which would have no effect.
    let said = watched.desk.framewise(&["tap", &address, "decoed"]).expect(64);
    assert!(said.err.contains("no stage `decoed`; the stages are `videos`, `decode`"), "{}", said.err);
    let said = watched.desk.framewise(&["tap", "run", "out"]).expect(64);
    assert!(said.err.contains("stage `out` has no output"), "{}", said.err);
    let said = watched.desk.framewise(&["tap", "run", "decode", "--set", "stages.decode.workers=2"]);
    assert!(said.expect(64).err.contains("--set has no effect on a run that goes on"));

    watched.give(7);
    let (desk, _) = watched.finish();
    let results: Value = serde_json::from_str(&desk.read("run/results.json")).unwrap();
    let stages = results["stages"].as_array().unwrap();
    let items = |stage: usize, key: &str| stages[stage][key].as_u64().unwrap();
    assert!(items(0, "items_out") > 13);
    assert_eq!(items(0, "items_out"), items(2, "items_in"), "{results}");
    let said = desk.framewise(&["tap", &address, "decode"]).expect(69);
    assert!(said.err.contains("nothing answers at"), "{}", said.err);
}
