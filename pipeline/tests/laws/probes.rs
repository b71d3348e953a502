//! Laws: a producer never waits for a probe, what a probe has no room for is left out and counted, and the consumers get
//! the same with a probe as without.

use std::time::Duration;

use framewise_pipeline::Output;
use framewise_pipeline::engine::probes::{Look, ProbeError, Seen};
use framewise_pipeline::engine::{Pipeline, RunOptions};
use framewise_pipeline::testing::{Collected, Gate, GraphBuilder, Token, eventually, items, within};

const LIMIT: Duration = Duration::from_secs(60);

/// The graph source → sink with so many items, and what the sink gets.
fn counting(count: u64) -> (Pipeline, Collected) {
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", count);
    let collected = graph.collect("sink");
    graph.chain(&["source", "sink"], items(4));
    (graph.build(&RunOptions::default()).unwrap(), collected)
}

fn value(look: Look) -> u64 {
    match look {
        Look::Seen(Seen::Item(item, _)) => item.downcast_ref::<Token>().unwrap().value,
        other => panic!("an item was expected, not {other:?}"),
    }
}

#[test]
fn a_probe_that_nobody_looks_through_holds_nothing_up() {
    let (pipeline, collected) = counting(1000);
    let (probe, name, payload) = pipeline.monitor().probe("source", None).unwrap();
    assert_eq!((name.as_str(), payload.name), ("source.output", "tokens"));
    within(LIMIT, || pipeline.run());
    assert_eq!(collected.values(), (0..1000).collect::<Vec<_>>());
    // There is room for one packet.
    assert_eq!(value(probe.look()), 0);
    assert_eq!(probe.left_out(), 999);
    assert!(matches!(probe.look(), Look::Ended));
}

#[test]
fn a_probe_sees_what_passes_from_then_on() {
    let mut graph = GraphBuilder::new();
    let gate = Gate::closed();
    let held = gate.clone();
    graph.source("source", move |mut output: Output<Token>| {
        (0..6).try_for_each(|value| {
            held.pass();
            output.send(Token { value, bytes: 7 })
        })
    });
    let collected = graph.collect("sink");
    graph.chain(&["source", "sink"], items(4));
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    let run = std::thread::spawn(move || within(LIMIT, || pipeline.run()));
    let send = |count: usize| {
        gate.allow(count as u64 - collected.values().len() as u64);
        eventually(count, || collected.values().len());
    };
    send(2);
    let (probe, ..) = monitor.probe("source", Some("output")).unwrap();
    assert!(matches!(probe.look(), Look::Nothing), "what passed before is not shown");
    send(3);
    assert_eq!(value(probe.look()), 2);
    send(5);
    assert_eq!(value(probe.look()), 3, "the next one, whose copy was made when it passed");
    assert_eq!(probe.left_out(), 1);

    let taken = monitor.probe("source", None).unwrap_err();
    assert_eq!(taken, ProbeError::Taken("source.output".into()));
    drop(probe);
    let (again, ..) = monitor.probe("source", None).unwrap();
    send(6);
    assert_eq!((value(again.look()), again.left_out()), (5, 0));
    gate.release();
    run.join().unwrap();
    assert!(matches!(again.look(), Look::Ended));
    drop(again);
    // A probe that comes too late learns it at once.
    let (late, ..) = monitor.probe("source", None).unwrap();
    assert!(matches!(late.look(), Look::Ended));
}

#[test]
fn a_port_that_is_not_there_is_told_with_those_that_are() {
    let (pipeline, _) = counting(1);
    let monitor = pipeline.monitor();
    let said = |stage: &str, output: Option<&str>| monitor.probe(stage, output).unwrap_err().to_string();
    assert_eq!(said("sauce", None), "there is no stage `sauce`; the stages are `source`, `sink`");
    assert_eq!(said("source", Some("x")), "stage `source` has no output `x`; its output is `output`");
    assert_eq!(said("sink", None), "stage `sink` has no output; look at a stage before it");
}
