//! Laws: a failure in one branch ends the other branches. A stage with two inputs sees the failure of either.

use framewise_pipeline::testing::{GraphBuilder, Token, input, items, output, ports, stage_fn, within};
use framewise_pipeline::{Input, Output, Packet};

use super::{How, LIMIT, Witness, count_up, middle, sink, source};

#[test]
fn a_failing_branch_stops_the_other_branches() {
    for round in 0..200 {
        let how = if round % 2 == 0 { How::Error } else { How::Panic };
        let failing = ["left", "right", "left_sink", "source"][round / 2 % 4];
        let at = |name: &str| (name == failing).then_some(round as u64 % 7);
        let witness = Witness::new(6);
        let mut graph = GraphBuilder::new();
        source(&mut graph, at("source"), how, &witness);
        middle(&mut graph, "left", at("left"), how, &witness);
        middle(&mut graph, "right", at("right"), how, &witness);
        let sinks = [
            sink(&mut graph, "left_sink", at("left_sink"), how, &witness),
            sink(&mut graph, "right_sink", None, how, &witness),
            sink(&mut graph, "direct", None, how, &witness),
        ];
        graph.chain(&["source", "left", "left_sink"], items(1 + round % 3));
        graph.chain(&["source", "right", "right_sink"], items(1 + round % 5));
        graph.chain(&["source", "direct"], items(2));
        let outcome = within(LIMIT, || graph.run());
        how.assert_reported(&outcome, failing);
        assert!(sinks.iter().all(|sink| !sink.packets().contains(&Packet::End)));
        witness.assert_others_stopped();
    }
}

#[test]
fn a_stage_with_two_inputs_sees_the_failure_of_either() {
    for round in 0..200 {
        let failing = if round % 2 == 0 { "left" } else { "right" };
        let mut graph = GraphBuilder::new();
        // The sink keeps no record.
        let told = Witness::new(3);
        for name in ["left", "right"] {
            let after = (name == failing).then_some(round % 5);
            let begins = told.clone();
            graph.source(name, move |mut output: Output<Token>| {
                begins.begin();
                let result = count_up(&mut output, after, How::Error);
                begins.note(name, &result);
                result
            });
        }
        let witness = told.clone();
        let joins = ports(&[input::<Token>("lefts"), input::<Token>("rights")], &[output::<Token>("output")]);
        graph.stage("join", joins, |wiring, _| {
            let mut lefts: Input<Token> = wiring.input("lefts")?;
            let mut rights: Input<Token> = wiring.input("rights")?;
            let mut output: Output<Token> = wiring.output("output")?;
            Ok(stage_fn(move || {
                witness.begin();
                let mut zip = || {
                    while let (Packet::Item(left), Packet::Item(right)) = (lefts.recv()?, rights.recv()?) {
                        output.send(Token::new(left.value + right.value))?;
                    }
                    Ok(())
                };
                let result = zip();
                witness.note("join", &result);
                result
            }))
        });
        let collected = graph.collect("sink");
        graph.edge("left.output", "join.lefts", items(2)).edge("right.output", "join.rights", items(1));
        graph.chain(&["join", "sink"], items(2));
        How::Error.assert_reported(&within(LIMIT, || graph.run()), failing);
        told.assert_others_stopped();
        assert!(!collected.packets().contains(&Packet::End));
    }
}
