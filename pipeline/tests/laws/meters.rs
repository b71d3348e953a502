//! Laws: the shares busy, waiting for input, waiting for output and ended add up to the time of the run, for every stage
//! and in every reading, and so do the waits of all edges. Items and bytes are exact. Readings never go back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use framewise_pipeline::edge::meter::{Activity, StageReading};
use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::engine::reading::{Reading, Shares};
use framewise_pipeline::engine::{Outcome, RunOptions, Status};
use framewise_pipeline::testing::{
    Gate, GraphBuilder, Token, eventually, items, output, ports, stage_fn, within,
};
use framewise_pipeline::{Input, Mark, Output, Packet};

const LIMIT: Duration = Duration::from_secs(60);

/// The tolerance for sums of seconds, which are converted from whole nanoseconds.
const ROUNDING: f64 = 1e-9;

fn reading(monitor: &Monitor, stage: &str) -> StageReading {
    monitor.stages().iter().find(|s| s.name == stage).unwrap().meter.read()
}

/// A middle stage that sleeps for each item, and notes the wall time of its own body.
fn sleeper(graph: &mut GraphBuilder, name: &'static str, sleep: Duration, bodies: &Bodies) {
    let bodies = bodies.clone();
    graph.middle(name, move |mut input: Input<Token>, mut output: Output<Token>| {
        let start = Instant::now();
        while let Packet::Item(token) = input.recv()? {
            thread::sleep(sleep);
            output.send(token)?;
        }
        bodies.lock().unwrap().insert(name, start.elapsed().as_secs_f64());
        Ok(())
    });
}

/// The wall seconds of the bodies of stages, by stage.
type Bodies = Arc<Mutex<BTreeMap<&'static str, f64>>>;

/// The graph source → a → b → c → sink. The stage `slow`, one of a, b and c, sleeps 2 ms for each of 200 items.
fn with_slow(slow: &str) -> (Outcome, BTreeMap<&'static str, f64>) {
    let mut graph = GraphBuilder::new();
    let bodies = Bodies::default();
    graph.counting_source("source", 200);
    for name in ["a", "b", "c"] {
        let sleep = if name == slow { Duration::from_millis(2) } else { Duration::ZERO };
        sleeper(&mut graph, name, sleep, &bodies);
    }
    graph.collect("sink");
    graph.chain(&["source", "a", "b", "c", "sink"], items(4));
    let outcome = within(LIMIT, || graph.run());
    assert!(matches!(outcome.status, Status::Done));
    let bodies = bodies.lock().unwrap().clone();
    (outcome, bodies)
}

#[test]
fn the_three_times_add_up_to_the_wall_time_of_the_thread() {
    let (outcome, bodies) = with_slow("b");
    for stage in outcome.monitor.stages() {
        let now = stage.meter.read();
        // The time is not more than that of the run, which contains the thread. It is not less than that of the body,
        // which is a part of the thread.
        assert!(now.wall() <= outcome.wall_seconds + ROUNDING, "{}: {now:?}", stage.name);
        if let Some(body) = bodies.get(stage.name.as_str()) {
            assert!(now.wall() >= body - ROUNDING, "{}: {now:?}, body {body}", stage.name);
        }
        assert!(now.done);
        // The clock of a thread that has ended stands still.
        assert_eq!(stage.meter.read(), now);
    }
    assert_eq!(bodies.len(), 3);
}

#[test]
fn waiting_is_booked_on_the_side_that_is_waited_for() {
    let (outcome, _) = with_slow("b");
    let of = |stage| reading(&outcome.monitor, stage);
    let slow = of("b");
    assert!(slow.busy >= 0.4, "200 sleeps of 2 ms are busy time: {slow:?}");
    // The stages before the limiting one wait for room: all items but the first few meet a full edge. Half of the time is
    // enough for that, because on a busy machine a stage also waits for a core.
    for stage in ["source", "a"] {
        let now = of(stage);
        assert!(now.output_wait > 0.5 * now.wall(), "{stage}: {now:?}");
    }
    // The stages after it wait for items.
    for stage in ["c", "sink"] {
        let now = of(stage);
        assert!(now.input_wait > 0.5 * now.wall(), "{stage}: {now:?}");
    }
}

/// Checks what holds in every reading: the shares of each stage add up to 1, and its waits to those at its edges.
fn check(monitor: &Monitor, reading: &Reading) {
    for (index, stage) in monitor.stages().iter().enumerate() {
        let (now, shares) = (&reading.stages[index], reading.shares(index));
        let sum = shares.busy + shares.input_wait + shares.output_wait + shares.ended;
        assert!((sum - 1.0).abs() < ROUNDING, "{}: {shares:?} of {}", stage.name, reading.seconds);
        let edges = || monitor.edges().iter().zip(&reading.edges);
        let input: f64 = edges().filter(|(edge, _)| edge.to == index).map(|(_, now)| now.input_wait).sum();
        let output: f64 =
            edges().filter(|(edge, _)| edge.from == index).map(|(_, now)| now.output_wait).sum();
        assert!((now.input_wait - input).abs() < ROUNDING && (now.output_wait - output).abs() < ROUNDING);
    }
    for edge in &reading.edges {
        assert!(edge.mean_fill().is_none_or(|fill| (0.0..=1.0).contains(&fill)));
    }
}

#[test]
fn shares_are_of_the_time_of_the_run_and_a_stage_that_is_through_has_ended() {
    // The source is through at once, because there is room for everything that it sends. The run takes so long that what
    // a thread waits for a core on a busy machine is a small part of it.
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", 20);
    let bodies = Bodies::default();
    sleeper(&mut graph, "slow", Duration::from_millis(40), &bodies);
    graph.collect("sink");
    graph.chain(&["source", "slow", "sink"], items(20));
    let outcome = within(LIMIT, || graph.run());
    let last = outcome.monitor.read();
    assert_eq!(last.seconds, outcome.wall_seconds, "the time of the run is that of its last reading");
    check(&outcome.monitor, &last);
    let [source, slow, sink] = [0, 1, 2].map(|stage| last.shares(stage));
    assert!(source.ended > 0.5 && source.busy < 0.5, "{source:?}");
    assert!(slow.busy > 0.5 && slow.ended < 0.5, "{slow:?}");
    assert!(sink.input_wait > 0.5, "{sink:?}");
    // After the run nothing changes any more.
    thread::sleep(Duration::from_millis(20));
    assert_eq!(*outcome.monitor.read(), *last);
}

#[test]
fn a_wait_in_hand_counts_and_is_told_with_its_edge() {
    // The sink holds back one of two branches. The source waits at that edge and at no other.
    let mut graph = GraphBuilder::new();
    graph.source("source", |mut output: Output<Token>| {
        (0..5).try_for_each(|value| output.send(Token::new(value)))
    });
    let gate = Gate::closed();
    let free = graph.collect("free");
    graph.collect_through("held", gate.clone());
    graph.edge("source.output", "free.input", items(5)).edge("source.output", "held.input", items(2));
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    let run = thread::spawn(move || within(LIMIT, || pipeline.run()));
    // The window begins when nothing moves any more: the source waits at the edge that is full, and the free sink, which
    // has taken the three items that were sent to it, waits for a fourth.
    eventually((Activity::OutputWait, vec![0, 1, 2], Activity::InputWait), || {
        let taken = free.values();
        let now = monitor.read();
        (now.states[0].activity, taken, now.states[1].activity)
    });
    let before = monitor.read();
    thread::sleep(Duration::from_millis(50));
    let now = monitor.read();
    let window = now.since(&before);
    check(&monitor, &now);
    check(&monitor, &window);
    // Nothing moved, so the whole window is one wait at the second edge, and the free sink waits for input.
    assert!((window.edges[1].output_wait - window.seconds).abs() < ROUNDING, "{:?}", window.edges);
    assert_eq!((window.edges[0].output_wait, window.stages[0].busy), (0.0, 0.0));
    assert!((window.edges[0].input_wait - window.seconds).abs() < ROUNDING, "{:?}", window.edges);
    assert_eq!((now.edges[1].items, now.edges[1].limits.items), (2, 2));
    gate.release();
    run.join().unwrap();
}

#[test]
fn nothing_ran_and_nothing_limits() {
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", 1);
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    assert_eq!(monitor.bottleneck().stage, None);
    assert_eq!(reading(&monitor, "source"), StageReading::default());
    assert_eq!(monitor.stages()[0].meter.activity(), Activity::Idle);
    let reading = monitor.read();
    assert_eq!((reading.seconds, reading.shares(0)), (0.0, Shares::default()));
}

#[test]
fn items_and_bytes_are_exact() {
    // The stage has two outputs, one of them with two consumers. Marks do not count as items.
    let mut graph = GraphBuilder::new();
    let outputs = [output::<Token>("lefts"), output::<Token>("rights")];
    graph.stage("source", ports(&[], &outputs), |wiring, context| {
        let mut lefts: Output<Token> = wiring.output("lefts")?;
        let mut rights: Output<Token> = wiring.output("rights")?;
        let meter = context.meter.clone();
        Ok(stage_fn(move || {
            for value in 0..100 {
                lefts.send(Token { value, bytes: 10 })?;
                if value % 4 == 0 {
                    rights.send(Token { value, bytes: 1000 })?;
                    rights.mark(Mark::EpochEnd { epoch: value })?;
                }
                if value % 10 == 0 {
                    meter.reject("broken");
                }
            }
            assert_eq!(meter.reject("short"), 11);
            Ok(())
        }))
    });
    for name in ["left", "other_left", "right"] {
        graph.collect(name);
    }
    graph.edge("source.lefts", "left.input", items(3)).edge("source.lefts", "other_left.input", items(1));
    graph.edge("source.rights", "right.input", items(2));
    let outcome = within(LIMIT, || graph.run());
    assert!(matches!(outcome.status, Status::Done));

    let counts = |stage| {
        let now = reading(&outcome.monitor, stage);
        (now.items_in, now.bytes_in, now.items_out, now.bytes_out)
    };
    assert_eq!(counts("source"), (0, 0, 125, 100 * 10 + 25 * 1000));
    assert_eq!(counts("left"), (100, 1000, 0, 0));
    assert_eq!(counts("other_left"), (100, 1000, 0, 0));
    assert_eq!(counts("right"), (25, 25_000, 0, 0));
    let rejected = reading(&outcome.monitor, "source").rejected;
    assert_eq!(rejected, BTreeMap::from([("broken", 10), ("short", 1)]));
    for edge in outcome.monitor.edges() {
        assert_eq!((edge.gauge.items(), edge.gauge.bytes()), (0, 0));
    }
}

#[test]
fn an_item_counts_as_sent_when_it_is_taken() {
    let mut graph = GraphBuilder::new();
    graph.source("source", |mut output: Output<Token>| {
        (0..5).try_for_each(|value| output.send(Token { value, bytes: 7 }))
    });
    let gate = Gate::closed();
    graph.collect_through("sink", gate.clone());
    graph.chain(&["source", "sink"], items(2));
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    let run = thread::spawn(move || within(LIMIT, || pipeline.run()));
    eventually(Activity::OutputWait, || monitor.stages()[0].meter.activity());
    let now = reading(&monitor, "source");
    assert_eq!((now.items_out, now.bytes_out), (2, 14), "the third waits for room");
    gate.release();
    run.join().unwrap();
    let now = reading(&monitor, "source");
    assert_eq!((now.items_out, now.bytes_out), (5, 35));
}

#[test]
fn live_readings_never_go_back() {
    // With edges of one place and a chain of stages on few cores, the clocks switch at every item.
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", 20_000);
    graph.pass("a").pass("b");
    graph.collect("sink");
    graph.chain(&["source", "a", "b", "sink"], items(1));
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    let over = AtomicBool::new(false);
    let start = Instant::now();
    let readings = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut last = monitor.read();
            let mut readings = 0_u64;
            while !over.load(Ordering::Relaxed) {
                let now = monitor.read();
                let elapsed = start.elapsed().as_secs_f64();
                if now.seconds > 0.0 {
                    check(&monitor, &now);
                }
                assert!(last.seconds <= now.seconds && now.seconds <= elapsed + ROUNDING);
                for (before, now) in last.stages.iter().zip(&now.stages) {
                    let times = |r: &StageReading| [r.busy, r.input_wait, r.output_wait];
                    let counts = |r: &StageReading| [r.items_in, r.items_out, r.bytes_in, r.bytes_out];
                    assert!(times(before).iter().zip(times(now)).all(|(a, b)| *a <= b), "{before:?} {now:?}");
                    assert!(counts(before).iter().zip(counts(now)).all(|(a, b)| *a <= b));
                    assert!(before.done <= now.done);
                }
                last = now;
                readings += 1;
            }
            readings
        });
        let outcome = pipeline.run();
        over.store(true, Ordering::Relaxed);
        assert!(matches!(outcome.status, Status::Done));
        watch.join().unwrap()
    });
    assert!(readings > 100, "{readings} readings have tested little");
}
