//! Laws: a run in which nothing moves ends with an error that says where every stage and edge stood, also when a thread
//! hangs. A run in which anything moves does not end in this way.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use framewise_pipeline::edge::meter::{Activity, StageMeter};
use framewise_pipeline::engine::stall::{Stall, StalledEdge};
use framewise_pipeline::engine::{Outcome, RunOptions, Status};
use framewise_pipeline::stage::context::{Level, Observer};
use framewise_pipeline::testing::{
    Collected, Gate, GraphBuilder, Token, input, items, output, ports, stage_fn, within,
};
use framewise_pipeline::{ErrorKind, Failure, Input, Output, Packet, StageError};

const LIMIT: Duration = Duration::from_secs(60);

/// The timeout of these tests: six looks of the sampler.
const TIMEOUT: Duration = Duration::from_millis(300);

/// An observer that keeps the messages of a run.
#[derive(Default)]
struct Messages(Mutex<Vec<String>>);

impl Observer for Messages {
    fn message(&self, level: Level, stage: &str, text: &str) {
        self.0.lock().unwrap().push(format!("{} {stage}: {text}", level.as_str()));
    }
}

fn run(mut graph: GraphBuilder) -> (Outcome, Vec<String>) {
    graph.stall_timeout(TIMEOUT);
    let messages = Arc::new(Messages::default());
    let options = RunOptions { observer: messages.clone(), ..RunOptions::default() };
    let pipeline = graph.build(&options).unwrap();
    let outcome = within(LIMIT, || pipeline.run());
    let messages = messages.0.lock().unwrap().clone();
    (outcome, messages)
}

/// From the outcome of a stalled run: the stage that is blamed, the text of the error, and where everything stood.
fn stall(outcome: &Outcome) -> (&str, String, &Stall) {
    let Status::Failed(error) = &outcome.status else { panic!("{:?}", outcome.status) };
    assert_eq!(error.failure.kind, ErrorKind::Stalled);
    assert_eq!(error.failure.kind.exit_code(), 75);
    (&error.stage, error.to_string(), error.failure.cause.downcast_ref().unwrap())
}

/// For every stage: what it does, at which port, and its items in and out.
fn states(stall: &Stall) -> Vec<(&str, Activity, Option<&str>, u64, u64)> {
    stall.stages.iter().map(|s| (s.name.as_str(), s.activity, s.port, s.items_in, s.items_out)).collect()
}

fn edge(from: &str, to: &str, items: (usize, usize), bytes: usize) -> StalledEdge {
    StalledEdge { from: from.into(), to: to.into(), items, bytes: (bytes, usize::MAX) }
}

/// A graph whose source sends three tokens of 7 bytes on `left` and then three on `right`. Its join wants one token of
/// each in turn, the right one first.
fn crossed(capacity: usize) -> (GraphBuilder, Collected) {
    let mut graph = GraphBuilder::new();
    graph.stage("fork", ports(&[], &[output::<Token>("left"), output::<Token>("right")]), |wiring, _| {
        let (mut left, mut right) = (wiring.output("left")?, wiring.output("right")?);
        Ok(stage_fn(move || {
            (0..3).try_for_each(|value| left.send(Token { value, bytes: 7 }))?;
            (0..3).try_for_each(|value| right.send(Token { value, bytes: 7 }))
        }))
    });
    let (wanted, given) = ([input::<Token>("left"), input::<Token>("right")], [output::<Token>("output")]);
    graph.stage("join", ports(&wanted, &given), |wiring, _| {
        let (mut left, mut right) = (wiring.input::<Token>("left")?, wiring.input::<Token>("right")?);
        let mut output = wiring.output("output")?;
        Ok(stage_fn(move || {
            while let (Packet::Item(_), Packet::Item(token)) = (right.recv()?, left.recv()?) {
                output.send(token)?;
            }
            Ok(())
        }))
    });
    let sink = graph.collect("sink");
    graph.edge("fork.left", "join.left", items(capacity)).edge("fork.right", "join.right", items(capacity));
    graph.edge("join.output", "sink.input", items(1));
    (graph, sink)
}

#[test]
fn inputs_read_in_an_order_that_the_producer_cannot_supply() {
    let (graph, sink) = crossed(1);
    let (outcome, messages) = run(graph);
    let (stage, text, stall) = stall(&outcome);
    assert_eq!(stage, "", "no stage is to blame");
    assert_eq!(
        text,
        "the run stalled: nothing moved for 0.3 s and every stage waits for another, a deadlock: \
         `fork` for its port `left`, `join` for its port `right`, `sink` for its port `input`"
    );
    let expected = [
        ("fork", Activity::OutputWait, Some("left"), 0, 1),
        ("join", Activity::InputWait, Some("right"), 0, 0),
        ("sink", Activity::InputWait, Some("input"), 0, 0),
    ];
    assert_eq!(states(stall), expected);
    assert!(stall.stages.iter().all(|s| s.since >= TIMEOUT), "{stall:?}");
    let edges = [
        edge("fork.left", "join.left", (1, 1), 7),
        edge("fork.right", "join.right", (0, 1), 0),
        edge("join.output", "sink.input", (0, 1), 0),
    ];
    assert_eq!(stall.edges, edges);
    assert_eq!(sink.packets(), [], "no end");

    assert_eq!(messages, [format!("warning : {}", stall.report())]);
    for part in [
        "  fork: waiting for output left for 0 s; 0 items in, 1 out",
        "  join: waiting for input right for 0 s; 0 items in, 0 out",
        "  fork.left -> join.left: 1 of 1 items, 7 of ",
    ] {
        assert!(messages[0].contains(part), "{messages:?}");
    }
    // With room for what comes first, the same graph is not a deadlock.
    let (graph, sink) = crossed(3);
    assert!(matches!(run(graph).0.status, Status::Done));
    assert_eq!(sink.values(), [0, 1, 2]);
}

#[test]
fn a_deadlock_is_told_long_before_the_timeout() {
    let (mut graph, _sink) = crossed(1);
    graph.stall_timeout(Duration::from_secs(3600));
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let outcome = within(LIMIT, || pipeline.run());
    let (stage, text, _) = stall(&outcome);
    assert_eq!(stage, "");
    assert!(text.starts_with("the run stalled: nothing moved for 5 s and every stage waits"), "{text}");
}

#[test]
fn a_loop_that_makes_more_than_it_holds() {
    let mut graph = GraphBuilder::new();
    let seed = output::<Token>("back").delayed();
    graph.stage("double", ports(&[input::<Token>("input")], &[seed]), |wiring, _| {
        let (mut input, mut back) = (wiring.input::<Token>("input")?, wiring.output("back")?);
        Ok(stage_fn(move || {
            back.send(Token::new(0))?;
            while let Packet::Item(token) = input.recv()? {
                back.send(token)?;
                back.send(token)?;
            }
            Ok(())
        }))
    });
    graph.pass("pass");
    graph.edge("double.back", "pass.input", items(2)).edge("pass.output", "double.input", items(2));
    let (outcome, _) = run(graph);
    let (stage, _, stall) = stall(&outcome);
    assert_eq!(stage, "");
    let waits: Vec<_> = stall.stages.iter().map(|s| (s.activity, s.port.unwrap())).collect();
    assert_eq!(waits, [(Activity::OutputWait, "back"), (Activity::OutputWait, "output")]);
    assert!(stall.edges.iter().all(|e| e.items == (2, 2)), "{stall:?}");
}

#[test]
fn a_run_ends_without_the_thread_that_hangs() {
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", 10);
    let gate = Gate::closed();
    let sink = graph.collect_through("sink", gate.clone());
    graph.chain(&["source", "sink"], items(2));
    let (outcome, messages) = run(graph);
    let (stage, text, stall) = stall(&outcome);
    assert_eq!(stage, "sink");
    assert!(
        text.contains("stage `sink`: the run stalled: nothing moved for 0.3 s while `sink` was busy"),
        "{text}"
    );
    let expected =
        [("source", Activity::OutputWait, Some("output"), 0, 2), ("sink", Activity::Busy, None, 0, 0)];
    assert_eq!(states(stall), expected);
    assert_eq!(stall.edges[0].items, (2, 2));
    assert_eq!(messages.len(), 2);
    assert!(messages[1].starts_with("warning sink: hangs and is left behind"), "{messages:?}");
    // When it is let go, the thread finds the run stopped. It gets neither an item nor an end.
    gate.release();
    assert_eq!(sink.packets(), []);
}

#[test]
fn a_failed_run_does_not_wait_for_a_thread_that_hangs() {
    let mut graph = GraphBuilder::new();
    let (hanging, gate) = (Gate::closed(), Gate::closed());
    let (hangs, held) = (hanging.clone(), gate.clone());
    graph.source("source", move |_: Output<Token>| {
        hanging.pass();
        Err(Failure::data("bad record").into())
    });
    graph.sink("sink", move |_: Input<Token>| {
        hangs.release();
        held.pass();
        Ok(())
    });
    graph.chain(&["source", "sink"], items(2));
    let (outcome, messages) = run(graph);
    let Status::Failed(error) = &outcome.status else { panic!("{:?}", outcome.status) };
    assert_eq!(
        (error.stage.as_str(), error.failure.kind),
        ("source", ErrorKind::Data),
        "the first error stays"
    );
    assert!(messages.iter().any(|m| m.starts_with("warning sink: hangs")), "{messages:?}");
    gate.release();
}

/// A source that works for several timeouts before it ends.
fn works(graph: &mut GraphBuilder, alive: impl Fn(&StageMeter) + Send + 'static) {
    graph.stage("source", ports(&[], &[output::<Token>("output")]), move |wiring, context| {
        let (mut output, meter) = (wiring.output("output")?, context.meter.clone());
        Ok(stage_fn(move || {
            let begin = Instant::now();
            while begin.elapsed() < 4 * TIMEOUT {
                alive(&meter);
                std::thread::sleep(Duration::from_millis(1));
            }
            output.send(Token::new(0))
        }))
    });
}

#[test]
fn a_stage_that_works_for_long_is_alive_as_long_as_it_says_so() {
    for says_so in [true, false] {
        let mut graph = GraphBuilder::new();
        works(&mut graph, move |meter| {
            if says_so {
                meter.touch();
            }
        });
        let sink = graph.collect("sink");
        graph.chain(&["source", "sink"], items(1));
        let (outcome, messages) = run(graph);
        if says_so {
            assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
            assert_eq!((sink.values(), messages.len()), (vec![0], 0));
        } else {
            assert_eq!(stall(&outcome).0, "source");
            assert_eq!(sink.packets(), []);
        }
    }
}

#[test]
fn without_a_timeout_a_run_waits() {
    let mut graph = GraphBuilder::new();
    works(&mut graph, |_| ());
    let sink = graph.collect("sink");
    graph.chain(&["source", "sink"], items(1));
    assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
    assert_eq!(sink.values(), [0]);
}

/// A graph whose only stage runs another graph, as `evaluate` does.
fn around(inner: impl FnOnce() -> GraphBuilder + Send + 'static, linked: bool) -> GraphBuilder {
    let mut graph = GraphBuilder::new();
    graph.stage("outer", ports(&[], &[]), move |_, context| {
        let options = RunOptions {
            stop: context.stop.clone(),
            inside: linked.then(|| context.meter.clone()),
            ..RunOptions::default()
        };
        Ok(stage_fn(move || match inner().build(&options).unwrap().run().status {
            Status::Done => Ok(()),
            Status::Failed(error) => Err(Failure::new(error.failure.kind, format!("inside: {error}")).into()),
            _ => Err(StageError::Stopped),
        }))
    });
    graph
}

/// A source whose tokens come many looks of the sampler apart, but never a whole timeout apart.
fn slow() -> GraphBuilder {
    let mut graph = GraphBuilder::new();
    graph.source("source", |mut output: Output<Token>| {
        (0..20).try_for_each(|value| {
            std::thread::sleep(TIMEOUT / 5);
            output.send(Token::new(value))
        })
    });
    graph.collect("sink");
    graph.chain(&["source", "sink"], items(1));
    graph
}

#[test]
fn what_moves_inside_a_stage_moves_the_stage() {
    let (outcome, _) = run(around(slow, true));
    assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
    // It is the link that keeps the outer run alive.
    let (outcome, _) = run(around(slow, false));
    assert_eq!(stall(&outcome).0, "outer");
}

#[test]
fn a_stall_inside_a_stage_is_told_by_the_inner_run() {
    let inner = || {
        let (mut graph, _) = crossed(1);
        // This is longer than the outer run waits by itself.
        graph.stall_timeout(3 * TIMEOUT);
        graph
    };
    let (outcome, messages) = run(around(inner, true));
    let Status::Failed(error) = &outcome.status else { panic!("{:?}", outcome.status) };
    assert_eq!((error.stage.as_str(), error.failure.kind), ("outer", ErrorKind::Stalled));
    assert!(error.to_string().contains("inside: the run stalled"), "{error}");
    assert!(messages.is_empty(), "{messages:?}");

    // An inner run that does not watch itself is watched from outside.
    let (outcome, messages) = run(around(|| crossed(1).0, true));
    assert_eq!(stall(&outcome).0, "outer");
    assert_eq!(messages.len(), 1, "no thread hangs: {messages:?}");
}

#[test]
fn packets_that_pass_are_no_stall() {
    // The packets together take many times the timeout, but none of them takes long.
    let mut graph = GraphBuilder::new();
    graph.source("source", |mut output: Output<Token>| {
        let begin = Instant::now();
        let tokens = (0..).take_while(|_| begin.elapsed() < 3 * TIMEOUT);
        tokens.into_iter().try_for_each(|value| output.send(Token::new(value)))
    });
    graph.sink("sink", |mut input: Input<Token>| {
        while input.recv()? != Packet::End {}
        Ok(())
    });
    graph.chain(&["source", "sink"], items(1));
    let (outcome, messages) = run(graph);
    assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
    assert!(messages.is_empty());
}
