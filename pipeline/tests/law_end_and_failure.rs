//! Law: the end of a stream and a failure differ. The first failure or panic is the run's result, ends every
//! thread, and no stage after it sees `End`; a disconnect is taken neither for an end nor for a consumer that
//! has enough.

#![allow(clippy::unwrap_used, reason = "a test may stop where its assumption fails")]

use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use framewise_pipeline::engine::{Outcome, RunOptions, Status};
use framewise_pipeline::testing::{
    Collected, Gate, GraphBuilder, Token, eventually, input, items, output, ports, stage_fn, within,
};
use framewise_pipeline::{ErrorKind, Failure, Input, Output, Packet, StageError};

const LIMIT: Duration = Duration::from_secs(30);

/// How a stage fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Error,
    Panic,
}

impl How {
    fn fail(self) -> Result<(), StageError> {
        match self {
            How::Error => Err(Failure::data("bad record").into()),
            // Not `panic!`: the hook would print hundreds of lines.
            How::Panic => std::panic::resume_unwind(Box::new("out of luck")),
        }
    }

    fn assert_reported(self, outcome: &Outcome, stage: &str) {
        let Status::Failed(error) = &outcome.status else { panic!("{:?}", outcome.status) };
        assert_eq!(error.stage, stage);
        let (kind, text) = match self {
            How::Error => (ErrorKind::Data, "bad record"),
            How::Panic => (ErrorKind::Internal, "panicked: out of luck"),
        };
        assert_eq!((error.failure.kind, error.failure.to_string().as_str()), (kind, text));
    }
}

/// What stages were told that did not fail themselves, by stage.
#[derive(Clone)]
struct Witness {
    told: Arc<Mutex<Vec<(String, &'static str)>>>,
    stages: usize,
    /// A stage that fails at once must not stop the others before they have begun.
    begin: Arc<Barrier>,
}

impl Witness {
    /// For a run of that many stages, one of which fails.
    fn new(stages: usize) -> Self {
        Self { told: Arc::default(), stages, begin: Arc::new(Barrier::new(stages)) }
    }

    fn begin(&self) {
        self.begin.wait();
    }

    fn note(&self, stage: &str, result: &Result<(), StageError>) {
        let text = match result {
            Ok(()) => "ok",
            Err(StageError::Stopped) => "stopped",
            Err(StageError::Closed) => "closed",
            Err(StageError::Failed(_)) => return,
        };
        self.told.lock().unwrap().push((stage.to_owned(), text));
    }

    fn assert_others_stopped(&self) {
        let told = self.told.lock().unwrap();
        assert_eq!(told.len(), self.stages - 1, "{told:?}");
        assert!(told.iter().all(|(_, told)| *told == "stopped"), "{told:?}");
    }
}

/// A source of tokens that fails after `fail_after`, if that is given; it never ends otherwise.
fn source(graph: &mut GraphBuilder, fail_after: Option<u64>, how: How, witness: &Witness) {
    let witness = witness.clone();
    graph.source("source", move |mut output: Output<Token>| {
        witness.begin();
        let result = count_up(&mut output, fail_after, how);
        witness.note("source", &result);
        result
    });
}

fn count_up(output: &mut Output<Token>, fail_after: Option<u64>, how: How) -> Result<(), StageError> {
    for value in 0.. {
        if Some(value) == fail_after {
            return how.fail();
        }
        output.send(Token::new(value))?;
    }
    Ok(())
}

fn relay(
    input: &mut Input<Token>,
    output: &mut Output<Token>,
    fail_after: Option<u64>,
    how: How,
) -> Result<(), StageError> {
    loop {
        match input.recv()? {
            Packet::Item(token) if Some(token.value) == fail_after => return how.fail(),
            Packet::Item(token) => output.send(token)?,
            Packet::Mark(mark) => output.mark(mark)?,
            Packet::End => return Ok(()),
        }
    }
}

fn middle(
    graph: &mut GraphBuilder,
    name: &'static str,
    fail_after: Option<u64>,
    how: How,
    witness: &Witness,
) {
    let witness = witness.clone();
    graph.middle(name, move |mut input: Input<Token>, mut output: Output<Token>| {
        witness.begin();
        let result = relay(&mut input, &mut output, fail_after, how);
        witness.note(name, &result);
        result
    });
}

fn sink(
    graph: &mut GraphBuilder,
    name: &'static str,
    fail_after: Option<u64>,
    how: How,
    witness: &Witness,
) -> Collected {
    let collected = Collected::default();
    let (packets, witness) = (collected.clone(), witness.clone());
    graph.sink(name, move |mut input: Input<Token>| {
        witness.begin();
        let result = loop {
            match input.recv() {
                Ok(Packet::Item(token)) if Some(token.value) == fail_after => return how.fail(),
                Ok(packet) => {
                    let ended = packet == Packet::End;
                    packets.push(packet);
                    if ended {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        witness.note(name, &result);
        result
    });
    collected
}

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
    // In order and without a gap, however far it came.
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
    // The race: the consumer may be waiting, or about to look, when the ends of the failed stage go.
    for round in 0..500 {
        let failing = ["source", "a", "b", "sink"][round % 4];
        let how = if round % 8 < 4 { How::Error } else { How::Panic };
        chain(failing, how, (round % 3) as u64, 1 + round % 2);
    }
}

#[test]
fn stages_with_empty_and_full_queues_are_stopped() {
    // `first` fails while `waiting` has an empty input and `blocked` a full output: the queues' states are reached
    // before the failure, which waits for the gate.
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

#[test]
fn a_stage_that_hides_a_failure_upstream_does_not_make_an_end_of_it() {
    // `hides` answers the stop with Ok: its consumer must not see an end all the same.
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
    // Everything was sent and received; still no end, since the stage did not return Ok.
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
