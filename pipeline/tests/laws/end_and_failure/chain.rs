//! Law: a failure in a chain is the run's result, and it ends every stage of the chain.

use framewise_pipeline::engine::RunOptions;
use framewise_pipeline::testing::{Gate, GraphBuilder, Token, eventually, items, within};
use framewise_pipeline::{Failure, Input, Output, Packet, StageError};

use super::{How, LIMIT, Witness, count_up, middle, relay, sink, source};

/// Runs source → a → b → sink with one failing stage, and checks everything that must hold.
fn chain(failing: &str, how: How, after: u64, capacity: usize) {
    let witness = Witness::new(4);
    let at = |name: &str| (name == failing).then_some(after);
    let mut graph = GraphBuilder::new();
    source(&mut graph, at("source"), how, &witness);
    middle(&mut graph, "a", at("a"), how, &witness);
    middle(&mut graph, "b", at("b"), how, &witness);
    let collected = sink(&mut graph, "sink", at("sink"), how, &witness);
    graph.chain(&["source", "a", "b", "sink"], items(capacity));
    let outcome = within(LIMIT, || graph.run());

    how.assert_reported(&outcome, failing);
    assert!(!collected.packets().contains(&Packet::End), "the sink saw an end");
    // The items came in order and without a gap, however far the run came.
    assert_eq!(collected.values(), (0..collected.values().len() as u64).collect::<Vec<_>>());
    assert!(collected.values().len() as u64 <= after);
    witness.assert_others_stopped();
    assert!(outcome.monitor.stages().iter().all(|s| s.meter.read().done), "a thread is left");
}

#[test]
fn a_failure_anywhere_in_a_chain_is_told_and_ends_everything() {
    for how in [How::Error, How::Panic] {
        for failing in ["source", "a", "b", "sink"] {
            for capacity in [1, 2, 1000] {
                for after in [0, 1, 5, 300] {
                    chain(failing, how, after, capacity);
                }
            }
        }
    }
}

#[test]
fn a_failure_right_behind_an_item_is_never_an_end() {
    // This is a race: when the failed stage's channel ends go, the consumer may be waiting or about to look.
    for round in 0..500 {
        let failing = ["source", "a", "b", "sink"][round % 4];
        let how = if round % 8 < 4 { How::Error } else { How::Panic };
        chain(failing, how, (round % 3) as u64, 1 + round % 2);
    }
}

#[test]
fn stages_with_empty_and_full_queues_are_stopped() {
    // `first` fails while `waiting` has an empty input and `blocked` a full output. The failure waits for the gate, so
    // the queues reach these states first.
    for how in [How::Error, How::Panic] {
        let witness = Witness::new(3);
        let gate = Gate::closed();
        let mut graph = GraphBuilder::new();
        source(&mut graph, None, how, &witness);
        let (held, begins) = (gate.clone(), witness.clone());
        graph.middle("failing", move |input: Input<Token>, output: Output<Token>| {
            begins.begin();
            held.pass();
            let result = how.fail();
            drop((input, output));
            result
        });
        let collected = sink(&mut graph, "sink", None, how, &witness);
        graph.chain(&["source", "failing", "sink"], items(4));
        let pipeline = graph.build(&RunOptions::default()).unwrap();
        let monitor = pipeline.monitor();
        let run = std::thread::spawn(move || within(LIMIT, || pipeline.run()));
        let state = || {
            let activity = |i: usize| monitor.stages()[i].meter.activity();
            (monitor.edges()[0].gauge.items(), format!("{:?} {:?}", activity(0), activity(2)))
        };
        eventually((4, "OutputWait InputWait".to_owned()), state);
        gate.release();
        how.assert_reported(&run.join().unwrap(), "failing");
        assert_eq!(collected.packets(), []);
        witness.assert_others_stopped();
    }
}

#[test]
fn a_failure_behind_a_deep_queue_does_not_wait_for_it() {
    // The source fills a deep edge and fails; the sink has taken nothing yet and never gets an end.
    for how in [How::Error, How::Panic] {
        let witness = Witness::new(1);
        let mut graph = GraphBuilder::new();
        source(&mut graph, Some(900), how, &witness);
        let gate = Gate::closed();
        let collected = graph.collect_through("sink", gate.clone());
        graph.chain(&["source", "sink"], items(1000));
        let options = RunOptions::default();
        let stop = options.stop.clone();
        let pipeline = graph.build(&options).unwrap();
        let run = std::thread::spawn(move || within(LIMIT, || pipeline.run()));
        eventually(true, || stop.is_tripped());
        gate.release();
        how.assert_reported(&run.join().unwrap(), "source");
        assert_eq!(collected.packets(), [], "after the trip nothing more is handed out");
    }
}

#[test]
fn the_first_failure_is_reported_not_its_consequences() {
    // Every other stage turns the stop into a failure of its own, as careless code might.
    for round in 0..300 {
        let failing = round % 4;
        let mut graph = GraphBuilder::new();
        let careless = |result: Result<(), StageError>| match result {
            Err(StageError::Stopped) => Err(Failure::internal("a consequence").into()),
            other => other,
        };
        let at = |stage: usize| (stage == failing).then_some(round as u64 % 5);
        let first = at(0);
        graph
            .source("0", move |mut output: Output<Token>| careless(count_up(&mut output, first, How::Error)));
        for stage in [1, 2] {
            let at = at(stage);
            graph.middle(&stage.to_string(), move |mut input, mut output| {
                careless(relay(&mut input, &mut output, at, How::Error))
            });
        }
        let last = at(3);
        graph.sink("3", move |mut input: Input<Token>| {
            loop {
                match input.recv() {
                    Ok(Packet::Item(token)) if Some(token.value) == last => return How::Error.fail(),
                    Ok(Packet::End) => return Ok(()),
                    Ok(_) => {}
                    Err(error) => return careless(Err(error)),
                }
            }
        });
        graph.chain(&["0", "1", "2", "3"], items(1 + round % 3));
        let outcome = within(LIMIT, || graph.run());
        How::Error.assert_reported(&outcome, &failing.to_string());
    }
}
