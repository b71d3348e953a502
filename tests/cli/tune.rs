//! `framewise tune` on real graphs: what it leaves alone, and what it writes into the file of a graph.

use serde_json::Value;

use crate::support::cli::{Desk, Said, graph, names, vowels_graph};
use crate::support::limited::inflating;

#[test]
fn nothing_of_the_users_is_touched_without_write() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("temporary")).unwrap();
    let text = inflating(&desk, 1_000_000);
    desk.write("graph.toml", &text);
    let mut command = desk.command(&["tune", "graph.toml", "--seconds", "12", "--format", "json"]);
    let output = command.env("TMPDIR", desk.path("temporary")).output().unwrap();
    let said = Said::of(output).expect(0);
    let tuned: Value = serde_json::from_str(&said.out).unwrap();
    let rates = tuned["before"].as_array().unwrap();
    assert!(rates.len() == 2 && rates.iter().all(|rate| rate.as_f64() > Some(0.0)), "{tuned}");
    assert!(!tuned["end"].as_str().unwrap().is_empty() && tuned["written"] == false, "{tuned}");
    assert!(said.err.contains("as it is: "), "{}", said.err);
    assert_eq!(desk.read("graph.toml"), text);
    assert_eq!(names(&desk.path("temporary")), [""; 0]);
    assert_eq!(names(&desk.path("")), ["graph.toml", "in.tfrecord.gz", "temporary"]);
}

#[test]
fn a_graph_that_is_over_at_once_is_refused_and_stays_as_it_is() {
    let desk = Desk::new();
    let text = vowels_graph();
    desk.write("graph.toml", &text);
    let said = desk.framewise(&["tune", "graph.toml", "--write"]).expect(78);
    assert!(said.err.contains("the graph ended after") && said.err.contains("more epochs"), "{}", said.err);
    assert_eq!((desk.read("graph.toml"), names(&desk.path(""))), (text, vec!["graph.toml".to_owned()]));
}

#[test]
fn a_graph_on_standard_input_cannot_be_written() {
    let desk = Desk::new();
    let said = desk.framewise(&["tune", "-", "--write"]).expect(64);
    assert!(said.err.contains("leave `--write` out"), "{}", said.err);
    let missing = desk.framewise(&["tune", &graph("quickstart.toml"), "--set", "stages.videos.files=none"]);
    assert!(missing.expect(66).err.contains("none"));
}
