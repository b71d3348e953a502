//! Law: all views of a run show the numbers of one reading.

use serde_json::Value;

use crate::support::cli::{Desk, copy_graph, vowels_graph};
use crate::support::records::Records;

const SHARES: [&str; 4] = ["busy", "input_wait", "output_wait", "ended"];

/// The table of stages that a run left.
fn table(desk: &Desk, run: &str) -> Value {
    serde_json::from_str(&desk.read(&format!("{run}/stages.json"))).unwrap()
}

#[test]
fn the_result_and_the_files_of_a_run_hold_the_same_last_reading() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    let (said, result) = desk.run_json(&["copy.toml", "--run-dir", "run"]);
    said.expect(0);
    let table = table(&desk, "run");
    assert_eq!((&table["version"], &table["graph"]), (&1.into(), &"copy".into()));
    assert_eq!(table["seconds"], result["wall_seconds"]);
    assert_eq!(table["stages"], result["stages"], "every figure, to the digit");
    assert_eq!(table["bottleneck"], result["bottleneck"]);

    let lines = desk.read("run/metrics.jsonl");
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&last["kind"], &last["seconds"]), (&"stages".into(), &table["seconds"]));
    let stages = table["stages"].as_array().unwrap();
    for stage in stages {
        let line = &last["stages"][stage["name"].as_str().unwrap()];
        let sum: f64 = SHARES.iter().map(|share| line[share].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{line}");
        for figure in SHARES.iter().chain(&["items_per_second"]) {
            assert_eq!(line[figure], stage[figure], "{figure} of {}", stage["name"]);
        }
    }

    // A stage waits at its edges and nowhere else.
    for (side, wait) in [("from", "output_wait"), ("to", "input_wait")] {
        for stage in stages {
            let prefix = format!("{}.", stage["name"].as_str().unwrap());
            let edges = table["edges"].as_array().unwrap().iter();
            let own = edges.filter(|edge| edge[side].as_str().unwrap().starts_with(&prefix));
            let sum: f64 = own.map(|edge| edge[wait].as_f64().unwrap()).sum();
            assert!((sum - stage[wait].as_f64().unwrap()).abs() < 1e-9, "{wait} of {prefix} is {sum}");
        }
    }
}

#[test]
fn the_printed_table_rounds_the_numbers_of_the_file() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    let said = desk.framewise(&["run", "copy.toml", "--run-dir", "run"]).expect(0);
    assert!(said.out.lines().all(|line| line.chars().count() <= 80), "{}", said.out);
    for stage in table(&desk, "run")["stages"].as_array().unwrap() {
        let name = stage["name"].as_str().unwrap();
        let row = said.out.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        let shown: Vec<&str> = row.split_whitespace().rev().take(4).collect();
        let expected = SHARES.map(|share| format!("{:.0}%", stage[share].as_f64().unwrap() * 100.0));
        assert!(shown.iter().rev().eq(&expected), "{row}: {expected:?}");
    }
}

#[test]
fn a_whole_run_has_read_all_of_its_files_whatever_their_compression() {
    let desk = Desk::new();
    for (run, records) in [("plain", Records::frame_level(40)), ("packed", Records::frame_level(40).gzip())] {
        let path = records.write(&desk.path(&format!("{run}.tfrecord")));
        desk.write("copy.toml", &copy_graph(&path, 16, 4, 10));
        desk.run_json(&["copy.toml", "--run-dir", run, "--set", "stages.videos.epochs=3"]).0.expect(0);
        assert_eq!(table(&desk, run)["read"], 1.0);
    }
}
