//! Law: busy + waiting for input + waiting for output is the wall time of a stage's thread; items and bytes are
//! exact; readings never go back; the limiting stage is the one that limits.

#![allow(clippy::unwrap_used, reason = "a test may stop where its assumption fails")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use framewise_pipeline::engine::{Outcome, RunOptions, Status};
use framewise_pipeline::meter::{Activity, StageReading};
use framewise_pipeline::monitor::{EdgeMonitor, Monitor};
use framewise_pipeline::testing::{
    Gate, GraphBuilder, Token, eventually, input, items, output, ports, stage_fn, within,
};
use framewise_pipeline::{Input, Mark, Output, Packet};

const LIMIT: Duration = Duration::from_secs(60);

/// Sums of seconds are compared after a conversion from whole nanoseconds.
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

/// Wall seconds of stages' bodies.
type Bodies = Arc<Mutex<BTreeMap<&'static str, f64>>>;

/// source → a → b → c → sink, where `slow` of a, b and c sleeps 2 ms for each of 200 items.
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
        // Not more than the run, of which the thread is a part; not less than the body, which is a part of it.
        assert!(now.wall() <= outcome.wall_seconds + ROUNDING, "{}: {now:?}", stage.name);
        if let Some(body) = bodies.get(stage.name.as_str()) {
            assert!(now.wall() >= body - ROUNDING, "{}: {now:?}, body {body}", stage.name);
        }
        assert!(now.done);
        assert!((0.0..=1.0).contains(&now.utilization()));
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
    // Those before it wait for room: all but the first few items meet a full edge.
    for stage in ["source", "a"] {
        let now = of(stage);
        assert!(now.output_wait > 0.8 * now.wall(), "{stage}: {now:?}");
    }
    // Those after it wait for items.
    for stage in ["c", "sink"] {
        let now = of(stage);
        assert!(now.input_wait > 0.8 * now.wall(), "{stage}: {now:?}");
    }
}

#[test]
fn the_limiting_stage_is_the_slow_one() {
    for slow in ["a", "b", "c"] {
        let (outcome, _) = with_slow(slow);
        let limiting = outcome.monitor.bottleneck().unwrap();
        assert_eq!(limiting.stage, slow, "{limiting:?}");
        assert!(limiting.why.contains("the edge into it") && limiting.why.contains("the edge out of it"));
        let fill = |wanted: &dyn Fn(usize, usize) -> bool| {
            let edge = outcome.monitor.edges().iter().find(|e| wanted(e.from, e.to)).unwrap();
            edge.mean_fill().expect("the run is longer than the time between samples")
        };
        let index = outcome.monitor.stages().iter().position(|s| s.name == slow).unwrap();
        let (before, behind) = (fill(&|_, to| to == index), fill(&|from, _| from == index));
        // No more than that: on a crowded machine the others are slow at times too.
        assert!(before > behind, "fuller before it ({before}) than behind it ({behind})");
        let fills = outcome.monitor.edges().iter().filter_map(EdgeMonitor::mean_fill);
        assert!(fills.into_iter().all(|fill| (0.0..=1.0).contains(&fill)));
    }
}

#[test]
fn nothing_ran_and_nothing_limits() {
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", 1);
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    assert_eq!(monitor.bottleneck(), None);
    assert_eq!(reading(&monitor, "source"), StageReading::default());
    assert_eq!(monitor.stages()[0].meter.activity(), Activity::Idle);
    assert_eq!(monitor.wall_seconds(), 0.0);
}

#[test]
fn items_and_bytes_are_exact() {
    // Two outputs, one of them with two consumers; marks are not items.
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
    // Edges of one place and a chain of stages on few cores: the clocks switch at every item.
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
            let read = || monitor.stages().iter().map(|s| s.meter.read()).collect::<Vec<_>>();
            let mut last = read();
            let mut readings = 0_u64;
            while !over.load(Ordering::Relaxed) {
                let now = read();
                let elapsed = start.elapsed().as_secs_f64();
                for (before, now) in last.iter().zip(&now) {
                    let times = |r: &StageReading| [r.busy, r.input_wait, r.output_wait];
                    let counts = |r: &StageReading| [r.items_in, r.items_out, r.bytes_in, r.bytes_out];
                    assert!(times(before).iter().zip(times(now)).all(|(a, b)| *a <= b), "{before:?} {now:?}");
                    assert!(counts(before).iter().zip(counts(now)).all(|(a, b)| *a <= b));
                    assert!(before.done <= now.done);
                    assert!(now.wall() <= elapsed + ROUNDING, "{now:?} after {elapsed}");
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

#[test]
fn the_edge_that_closes_a_loop_says_nothing_of_the_limit() {
    // The slow optimizer stands first in the graph: its weights edge is the first edge of all.
    let mut graph = GraphBuilder::new();
    let optimizer = ports(&[input::<Token>("gradients")], &[output::<Token>("weights").delayed()]);
    graph.stage("optimizer", optimizer, |wiring, _| {
        let mut gradients: Input<Token> = wiring.input("gradients")?;
        let mut weights: Output<Token> = wiring.output("weights")?;
        Ok(stage_fn(move || {
            weights.send(Token::new(0))?;
            while let Packet::Item(token) = gradients.recv()? {
                thread::sleep(Duration::from_millis(5));
                weights.send(token)?;
            }
            Ok(())
        }))
    });
    graph.counting_source("source", 40);
    let forward = ports(&[input::<Token>("steps"), input::<Token>("weights")], &[output::<Token>("output")]);
    graph.stage("forward", forward, |wiring, _| {
        let mut steps: Input<Token> = wiring.input("steps")?;
        let mut weights: Input<Token> = wiring.input("weights")?;
        let mut output: Output<Token> = wiring.output("output")?;
        Ok(stage_fn(move || {
            while let Packet::Item(step) = steps.recv()? {
                weights.recv()?;
                output.send(step)?;
            }
            Ok(())
        }))
    });
    graph.edge("optimizer.weights", "forward.weights", items(1));
    graph.edge("source.output", "forward.steps", items(8));
    graph.edge("forward.output", "optimizer.gradients", items(1));
    let outcome = within(LIMIT, || graph.run());
    assert!(matches!(outcome.status, Status::Done));
    let limiting = outcome.monitor.bottleneck().unwrap();
    assert_eq!(limiting.stage, "optimizer");
    assert!(limiting.why.contains("the edge into it"), "{}", limiting.why);
    assert!(!limiting.why.contains("the edge out of it"), "{}", limiting.why);
}
