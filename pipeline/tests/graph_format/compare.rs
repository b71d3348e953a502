//! Tests of the differences between a graph that ran and the graph with which the run is to be resumed.

use framewise_pipeline::graph::{compare, render};

use crate::fixture::{graph, registry};

const GRAPH: &str = r#"
[graph]
name = "g"
seed = 7
[stages.videos]
type = "reader"
files = "a.tfrecord"
[stages.decode]
type = "decode"
from = "videos"
[stages.batch]
type = "batch"
from = "decode"
[stages.again]
type = "relay"
from = "batch"
"#;

/// Each change in words. Changes that may be made on resume stand in brackets.
fn changes(before: &str, now: &str) -> Vec<String> {
    let changes = compare(before, &graph(now), &registry()).expect("a rendered graph");
    changes.iter().map(|c| if c.free { format!("({c})") } else { c.to_string() }).collect()
}

fn rendered() -> String {
    render(&graph(GRAPH))
}

#[test]
fn equal_graphs_do_not_differ() {
    assert!(changes(&rendered(), GRAPH).is_empty());
    // Neither the name of the graph nor the order of its stages matters.
    let (head, last) = GRAPH.split_at(GRAPH.find("[stages.again]").unwrap());
    let at = head.find("[stages.videos]").unwrap();
    let moved = format!("{}{last}{}", &head[..at], &head[at..]).replace("\"g\"", "\"other\"");
    assert!(changes(&rendered(), &moved).is_empty());
}

#[test]
fn each_key_is_told_and_which_may_change() {
    let now = GRAPH
        .replace("seed = 7", "seed = 8")
        .replace("from = \"videos\"", "from = \"videos\"\nworkers = 2\ncapacity = 3\nfeature_size = 1024")
        .replace("from = \"decode\"", "from = \"decode\"\nsize = 32\ncapacity_bytes = 5");
    assert_eq!(
        changes(&rendered(), &now),
        [
            "graph.seed: 7 in the checkpoint, 8 now",
            "(stages.decode.capacity: 64 in the checkpoint, 3 now)",
            "(stages.decode.workers: 4 in the checkpoint, 2 now)",
            "(stages.batch.capacity_bytes: 268435456 in the checkpoint, 5 now)",
            "stages.batch.size: 160 in the checkpoint, 32 now",
        ]
    );
}

#[test]
fn stages_that_are_new_gone_or_of_another_type_are_told_once() {
    let new = GRAPH.replace("[stages.again]", "[stages.other]");
    assert_eq!(
        changes(&rendered(), &new),
        [
            "stages.other: no such stage in the checkpoint, a `relay` now",
            "stages.again: a `relay` in the checkpoint, no such stage now",
        ]
    );
    let typed = GRAPH.replace("type = \"relay\"\nfrom = \"batch\"", "type = \"batch\"\nfrom = \"decode\"");
    assert_eq!(
        changes(&rendered(), &typed),
        [
            // Nothing takes the stage's batches any more, so no edge has a capacity.
            "(stages.batch.capacity: 2 in the checkpoint, not set now)",
            "stages.again.type: \"relay\" in the checkpoint, \"batch\" now",
        ]
    );
    let rewired = GRAPH.replace("from = \"batch\"", "from = \"second\"")
        + "[stages.second]\ntype = \"batch\"\nfrom = \"decode\"\n";
    assert_eq!(
        changes(&rendered(), &rewired),
        [
            "(stages.batch.capacity: 2 in the checkpoint, not set now)",
            "stages.again.from: { batches = \"batch.batches\" } in the checkpoint, { batches = \"second.batches\" } now",
            "stages.second: no such stage in the checkpoint, a `batch` now",
        ]
    );
}

#[test]
fn a_key_that_a_later_version_added_differs_only_from_its_default() {
    let older: String =
        rendered().lines().filter(|line| !line.starts_with("drop_last")).collect::<Vec<_>>().join("\n");
    assert!(changes(&older, GRAPH).is_empty());
    let now = GRAPH.replace("from = \"decode\"", "from = \"decode\"\ndrop_last = true");
    assert_eq!(changes(&older, &now), ["stages.batch.drop_last: not set in the checkpoint, true now"]);
    // A key that a later version removed is reported.
    let older = rendered().replace("[stages.batch]", "[stages.batch]\ngone = 1");
    assert_eq!(changes(&older, GRAPH), ["stages.batch.gone: 1 in the checkpoint, not set now"]);
    assert!(compare("no graph", &graph(GRAPH), &registry()).is_err());
}

#[test]
fn a_change_is_named_by_its_key_or_its_stage() {
    let now = GRAPH.replace("from = \"decode\"", "from = \"decode\"\nsize = 32");
    let change = compare(&rendered(), &graph(&now), &registry()).unwrap().remove(0);
    for name in ["stages.batch.size", "batch.size", "stages.batch", "batch"] {
        assert!(change.is_named(name), "{name}");
    }
    for name in ["size", "stages.batch.siz", "stages", "bat", "", "stages.", "stages.stages.batch"] {
        assert!(!change.is_named(name), "{name}");
    }
}
