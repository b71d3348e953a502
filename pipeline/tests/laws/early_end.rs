//! Laws: a consumer that has had enough ends cleanly. A producer that nobody listens to any more is closed, and all
//! other stages continue and get everything. Ending never waits for a place in a channel.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use framewise_pipeline::engine::Status;
use framewise_pipeline::testing::{
    Collected, GraphBuilder, Progress, Token, input, items, output, ports, stage_fn, within,
};
use framewise_pipeline::{Input, Mark, Output, Packet, StageError};

const LIMIT: Duration = Duration::from_secs(30);

/// A sink that returns `Ok` after `count` items.
fn takes(graph: &mut GraphBuilder, name: &str, count: usize) -> Collected {
    let collected = Collected::default();
    let packets = collected.clone();
    graph.sink(name, move |mut input: Input<Token>| {
        for _ in 0..count {
            packets.push(input.recv()?);
        }
        Ok(())
    });
    collected
}

/// What the run of a stage returned.
#[derive(Clone, Default)]
struct Returned(Arc<Mutex<Option<String>>>);

impl Returned {
    fn note(&self, result: Result<(), StageError>) -> Result<(), StageError> {
        *self.0.lock().unwrap() = Some(match &result {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        });
        result
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap().clone()
    }
}

const CLOSED: &str = "all consumers have finished";

/// A source that never ends by itself.
fn endless(graph: &mut GraphBuilder, name: &str) -> (Arc<Progress>, Returned) {
    let (progress, returned) = (Arc::new(Progress::default()), Returned::default());
    let (sent, note) = (progress.clone(), returned.clone());
    graph.source(name, move |mut output| {
        note.note((0..).try_for_each(|value| sent.send(&mut output, Token::new(value))))
    });
    (progress, returned)
}

fn numbers(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[test]
fn a_sink_that_takes_three_items_closes_the_chain_before_it() {
    for round in 0..300 {
        let capacity = 1 + round % 4;
        let mut graph = GraphBuilder::new();
        let (progress, returned) = endless(&mut graph, "source");
        graph.pass("a").pass("b");
        let sink = takes(&mut graph, "sink", 3);
        graph.chain(&["source", "a", "b", "sink"], items(capacity));
        let outcome = within(LIMIT, || graph.run());
        assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
        assert_eq!(returned.get().as_deref(), Some(CLOSED));
        assert_eq!(sink.values(), numbers(3));
        // Three items were taken, three edges are full, and `a` and `b` hold one item each.
        let most = 3 + 3 * capacity as u64 + 2;
        assert!((3..=most).contains(&progress.complete()), "{} sends, at most {most}", progress.complete());
    }
}

#[test]
fn a_sink_that_takes_nothing_closes_a_blocked_source() {
    for round in 0..300 {
        let mut graph = GraphBuilder::new();
        let (_, returned) = endless(&mut graph, "source");
        takes(&mut graph, "sink", 0);
        graph.chain(&["source", "sink"], items(1 + round % 2));
        assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
        assert_eq!(returned.get().as_deref(), Some(CLOSED));
    }
}

#[test]
fn the_other_branches_of_a_fan_out_get_everything_and_an_end() {
    for round in 0..200 {
        let mut graph = GraphBuilder::new();
        let returned = Returned::default();
        let note = returned.clone();
        graph.source("source", move |mut output: Output<Token>| {
            let mut send = || {
                for value in 0..100 {
                    output.send(Token::new(value))?;
                    if value == 49 {
                        output.mark(Mark::EpochEnd { epoch: 0 })?;
                    }
                }
                Ok(())
            };
            note.note(send())
        });
        // Whichever consumer ends, the others lose nothing.
        let names = ["first", "second", "third"];
        let early = round % 3;
        let sinks: Vec<_> = (0..3)
            .map(|i| if i == early { takes(&mut graph, names[i], 3) } else { graph.collect(names[i]) })
            .collect();
        for name in names {
            graph.chain(&["source", name], items(1 + round % 4));
        }
        let outcome = within(LIMIT, || graph.run());
        assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
        assert_eq!(returned.get().as_deref(), Some("ok"));
        for (i, sink) in sinks.iter().enumerate() {
            if i == early {
                assert_eq!(sink.values(), numbers(3));
            } else {
                assert_eq!(sink.values(), numbers(100));
                assert_eq!(sink.packets()[50], Packet::Mark(Mark::EpochEnd { epoch: 0 }));
                assert!(sink.ended());
            }
        }
        // Each item is counted once, whatever the number of consumers and whichever of them left.
        assert_eq!(outcome.monitor.stages()[0].meter.read().items_out, 100);
    }
}

#[test]
fn a_source_ends_when_the_last_of_its_consumers_has() {
    for round in 0..100 {
        let mut graph = GraphBuilder::new();
        let (_, returned) = endless(&mut graph, "source");
        let short = takes(&mut graph, "short", 2);
        let long = takes(&mut graph, "long", 60);
        graph.chain(&["source", "short"], items(1 + round % 3)).chain(&["source", "long"], items(3));
        assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
        assert_eq!(returned.get().as_deref(), Some(CLOSED));
        assert_eq!((short.values(), long.values()), (numbers(2), numbers(60)));
    }
}

#[test]
fn a_stage_with_two_outputs_goes_on_while_either_is_listened_to() {
    for (left_takes, right_takes) in [(Some(3), None), (None, Some(3)), (Some(3), Some(5))] {
        let mut graph = GraphBuilder::new();
        let returned = Returned::default();
        let note = returned.clone();
        let outputs = [output::<Token>("lefts"), output::<Token>("rights")];
        graph.stage("source", ports(&[], &outputs), |wiring, _| {
            let mut lefts: Output<Token> = wiring.output("lefts")?;
            let mut rights: Output<Token> = wiring.output("rights")?;
            Ok(stage_fn(move || {
                let mut both = |value| {
                    lefts.send(Token::new(value))?;
                    rights.send(Token::new(value))
                };
                note.note((0..1000).try_for_each(&mut both))
            }))
        });
        let sinks = [("left", left_takes), ("right", right_takes)].map(|(name, count)| match count {
            Some(count) => takes(&mut graph, name, count),
            None => graph.collect(name),
        });
        graph.edge("source.lefts", "left.input", items(2)).edge("source.rights", "right.input", items(2));
        let outcome = within(LIMIT, || graph.run());
        assert!(matches!(outcome.status, Status::Done));
        for (sink, takes) in sinks.iter().zip([left_takes, right_takes]) {
            assert_eq!(sink.values(), numbers(takes.map_or(1000, |n| n as u64)));
            assert_eq!(sink.ended(), takes.is_none(), "an end only after everything");
        }
        let both_left = left_takes.is_some() && right_takes.is_some();
        assert_eq!(returned.get().as_deref(), Some(if both_left { CLOSED } else { "ok" }));
    }
}

/// A stage with inputs `firsts` and `seconds` that reads the first to its end, then the second.
fn one_after_the_other(graph: &mut GraphBuilder, name: &str) -> Collected {
    let collected = Collected::default();
    let packets = collected.clone();
    let inputs = [input::<Token>("firsts"), input::<Token>("seconds")];
    graph.stage(name, ports(&inputs, &[]), |wiring, _| {
        let firsts: Input<Token> = wiring.input("firsts")?;
        let seconds: Input<Token> = wiring.input("seconds")?;
        Ok(stage_fn(move || {
            for mut input in [firsts, seconds] {
                loop {
                    let packet = input.recv()?;
                    packets.push(packet.clone());
                    if packet == Packet::End {
                        break;
                    }
                }
            }
            Ok(())
        }))
    });
    collected
}

#[test]
fn a_stage_that_ends_early_with_a_full_output_does_not_hold_up_its_producer() {
    // `side` fills the edge out of it and ends, while `join` waits for `source`, which feeds `side` too.
    for _ in 0..50 {
        let mut graph = GraphBuilder::new();
        graph.counting_source("source", 100);
        graph.middle("side", |mut input: Input<Token>, mut output: Output<Token>| {
            if let Packet::Item(token) = input.recv()? {
                output.send(token)?;
            }
            Ok(())
        });
        let joined = one_after_the_other(&mut graph, "join");
        graph.chain(&["source", "side"], items(1));
        graph.edge("source.output", "join.firsts", items(1)).edge("side.output", "join.seconds", items(1));
        let outcome = within(LIMIT, || graph.run());
        assert!(matches!(outcome.status, Status::Done));
        let wanted: Vec<_> = (0..100).chain([0]).collect();
        assert_eq!(joined.values(), wanted);
        assert!(joined.ended());
    }
}

#[test]
fn an_end_on_one_output_does_not_wait_for_room_on_another() {
    // `source` ends with `a` full. Its consumer reads `a` only after the end of `b` has come to it by way of `last`.
    for _ in 0..50 {
        let mut graph = GraphBuilder::new();
        let outputs = [output::<Token>("a"), output::<Token>("b")];
        graph.stage("source", ports(&[], &outputs), |wiring, _| {
            let mut a: Output<Token> = wiring.output("a")?;
            let mut b: Output<Token> = wiring.output("b")?;
            Ok(stage_fn(move || {
                a.send(Token::new(7))?;
                b.send(Token::new(8))
            }))
        });
        graph.middle("last", |mut input: Input<Token>, mut output: Output<Token>| {
            let mut last = None;
            while let Packet::Item(token) = input.recv()? {
                last = Some(token);
            }
            last.map_or(Ok(()), |token| output.send(token))
        });
        let joined = one_after_the_other(&mut graph, "join");
        graph.edge("source.b", "last.input", items(1));
        graph.edge("last.output", "join.firsts", items(1)).edge("source.a", "join.seconds", items(1));
        assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
        assert_eq!(joined.values(), [8, 7]);
        assert!(joined.ended());
    }
}

#[test]
fn one_input_of_two_may_end_first() {
    for round in 0..100 {
        let mut graph = GraphBuilder::new();
        graph.counting_source("short", 2);
        graph.counting_source("long", 50);
        let joined = one_after_the_other(&mut graph, "join");
        let (first, second) = if round % 2 == 0 { ("short", "long") } else { ("long", "short") };
        graph.edge(&format!("{first}.output"), "join.firsts", items(1));
        graph.edge(&format!("{second}.output"), "join.seconds", items(1));
        assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
        assert_eq!(joined.values().len(), 52);
        assert_eq!(joined.packets().iter().filter(|p| **p == Packet::End).count(), 2);
    }
}

#[test]
fn the_end_comes_again_to_whoever_asks_again() {
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", 1);
    let ends = Arc::new(Mutex::new(0));
    let seen = ends.clone();
    graph.sink("sink", move |mut input: Input<Token>| {
        for _ in 0..3 {
            if input.recv()? == Packet::End {
                *seen.lock().unwrap() += 1;
            }
        }
        Ok(())
    });
    graph.chain(&["source", "sink"], items(1));
    assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
    assert_eq!(*ends.lock().unwrap(), 2);
}

#[test]
fn what_nobody_listens_to_is_neither_an_error_nor_counted() {
    let mut graph = GraphBuilder::new();
    let progress = graph.counting_source("source", 5);
    let outcome = within(LIMIT, || graph.run());
    assert!(matches!(outcome.status, Status::Done));
    assert_eq!(progress.complete(), 5);
    assert_eq!(outcome.monitor.stages()[0].meter.read().items_out, 0);
}
