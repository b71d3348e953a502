//! `framewise tap`: what passes an edge against what was written to the files, and what it leaves alone.

use serde_json::Value;

use crate::support::cli::{Desk, copy_graph, graph, graph_text, names};
use crate::support::records::Records;

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
fn assert_bytes(array: &Value, rows: usize, bytes: &[u8]) {
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
