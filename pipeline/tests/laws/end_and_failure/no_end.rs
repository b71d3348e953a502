//! Law: no stage behind a failure sees an end, whatever the failed stage or the stages behind it return.

use framewise_pipeline::engine::{RunOptions, Status};
use framewise_pipeline::testing::{Gate, GraphBuilder, Token, eventually, items, within};
use framewise_pipeline::{ErrorKind, Input, Output, Packet, StageError};

use super::{How, LIMIT, Witness, relay, source};

#[test]
fn a_stage_that_hides_a_failure_upstream_does_not_make_an_end_of_it() {
    // `hides` answers the stop with `Ok`. Its consumer must not see an end even so.
    for round in 0..300 {
        let mut graph = GraphBuilder::new();
        source(&mut graph, Some(round % 4), How::Error, &Witness::new(1));
        graph.middle("hides", |mut input: Input<Token>, mut output: Output<Token>| {
            let _ = relay(&mut input, &mut output, None, How::Error);
            Ok(())
        });
        let collected = graph.collect("sink");
        graph.chain(&["source", "hides", "sink"], items(2));
        How::Error.assert_reported(&within(LIMIT, || graph.run()), "source");
        assert!(!collected.packets().contains(&Packet::End));
    }
}

#[test]
fn a_stage_that_claims_to_be_stopped_has_failed() {
    let mut graph = GraphBuilder::new();
    graph.source("liar", |_: Output<Token>| Err(StageError::Stopped));
    let collected = graph.collect("sink");
    graph.chain(&["liar", "sink"], items(1));
    let outcome = within(LIMIT, || graph.run());
    let Status::Failed(error) = &outcome.status else { panic!("{:?}", outcome.status) };
    assert_eq!((error.stage.as_str(), error.failure.kind), ("liar", ErrorKind::Internal));
    assert_eq!(collected.packets(), []);
}

#[test]
fn a_failure_after_all_items_but_before_the_return_commits_nothing() {
    // Everything was sent and received. There is still no end, because the stage did not return `Ok`.
    for how in [How::Error, How::Panic] {
        let mut graph = GraphBuilder::new();
        let gate = Gate::closed();
        let all_taken = gate.clone();
        graph.source("source", move |mut output: Output<Token>| {
            (0..10).try_for_each(|value| output.send(Token::new(value)))?;
            all_taken.pass();
            how.fail()
        });
        let collected = graph.collect("sink");
        graph.chain(&["source", "sink"], items(3));
        let pipeline = graph.build(&RunOptions::default()).unwrap();
        let run = std::thread::spawn(move || within(LIMIT, || pipeline.run()));
        eventually((0..10).collect::<Vec<_>>(), || collected.values());
        gate.release();
        how.assert_reported(&run.join().unwrap(), "source");
        assert_eq!(collected.packets().len(), 10);
    }
}
