//! Law: an edge of capacity c whose consumer is stuck takes exactly c packets, and the producer waits in the next send.
//! An edge never holds more than its bytes, unless a single item is larger than that.

use std::collections::VecDeque;
use std::sync::Arc;

use framewise_pipeline::edge::channel::EdgeLimits;
use framewise_pipeline::edge::meter::Activity;
use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::engine::{Pipeline, RunOptions, Status};
use framewise_pipeline::testing::{Collected, Gate, GraphBuilder, Progress, Token, eventually, items, stays};
use framewise_pipeline::{Mark, Output, Packet};

fn build(graph: GraphBuilder) -> (Pipeline, Monitor) {
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    (pipeline, monitor)
}

fn activity(monitor: &Monitor, stage: &str) -> Activity {
    monitor.stages().iter().find(|s| s.name == stage).unwrap().meter.activity()
}

/// What the producer has done, and what it is doing now.
fn state(progress: &Progress, monitor: &Monitor, stage: &str) -> (u64, u64, Activity) {
    (progress.begun(), progress.complete(), activity(monitor, stage))
}

fn numbers(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[test]
fn a_blocked_consumer_lets_exactly_c_sends_complete() {
    const COUNT: u64 = 40;
    for capacity in [1, 2, 8] {
        let mut graph = GraphBuilder::new();
        let progress = graph.counting_source("source", COUNT);
        let gate = Gate::closed();
        let sink = graph.collect_through("sink", gate.clone());
        graph.chain(&["source", "sink"], items(capacity as usize));
        let (pipeline, monitor) = build(graph);
        let run = std::thread::spawn(move || pipeline.run());

        for taken in 0..20 {
            let blocked = (capacity + taken + 1, capacity + taken, Activity::OutputWait);
            eventually(blocked, || state(&progress, &monitor, "source"));
            eventually(taken as usize, || sink.packets().len());
            assert_eq!(monitor.edges()[0].gauge.items() as u64, capacity, "the full edge's depth");
            if taken < 3 {
                stays(blocked, || state(&progress, &monitor, "source"));
            }
            gate.allow(1);
        }
        gate.release();
        assert!(matches!(run.join().unwrap().status, Status::Done));
        assert_eq!(sink.values(), numbers(COUNT));
        assert!(sink.ended());
    }
}

#[test]
fn each_stage_of_a_chain_adds_its_capacity_and_the_item_in_its_hands() {
    const COUNT: u64 = 200;
    for capacity in [1, 2, 8] {
        for stages in [1, 2, 5] {
            let mut graph = GraphBuilder::new();
            let progress = graph.counting_source("source", COUNT);
            let names: Vec<String> = (0..stages).map(|i| format!("pass{i}")).collect();
            for name in &names {
                graph.pass(name);
            }
            let gate = Gate::closed();
            let sink = graph.collect_through("sink", gate.clone());
            let mut chain = vec!["source"];
            chain.extend(names.iter().map(String::as_str));
            chain.push("sink");
            graph.chain(&chain, items(capacity as usize));
            let (pipeline, monitor) = build(graph);
            let run = std::thread::spawn(move || pipeline.run());

            for taken in 0..3 {
                let complete = (stages + 1) * capacity + stages + taken;
                let blocked = (complete + 1, complete, Activity::OutputWait);
                eventually(blocked, || state(&progress, &monitor, "source"));
                stays(blocked, || state(&progress, &monitor, "source"));
                for edge in monitor.edges() {
                    assert_eq!(edge.gauge.items() as u64, capacity, "every edge is full");
                }
                gate.allow(1);
            }
            gate.release();
            assert!(matches!(run.join().unwrap().status, Status::Done));
            assert_eq!(sink.values(), numbers(COUNT));
        }
    }
}

#[test]
fn a_fan_out_waits_for_its_slowest_consumer() {
    let mut graph = GraphBuilder::new();
    let progress = graph.counting_source("source", 50);
    let fast = graph.collect("fast");
    let gate = Gate::closed();
    let slow = graph.collect_through("slow", gate.clone());
    graph.chain(&["source", "fast"], items(8)).chain(&["source", "slow"], items(2));
    let (pipeline, monitor) = build(graph);
    let run = std::thread::spawn(move || pipeline.run());

    eventually((3, 2, Activity::OutputWait), || state(&progress, &monitor, "source"));
    stays((3, 2, Activity::OutputWait), || state(&progress, &monitor, "source"));
    eventually(vec![0, 1, 2], || fast.values());
    gate.release();
    assert!(matches!(run.join().unwrap().status, Status::Done));
    assert_eq!((fast.values(), slow.values()), (numbers(50), numbers(50)));
}

#[test]
fn a_mark_takes_a_place_like_an_item() {
    let mut graph = GraphBuilder::new();
    let progress = Arc::new(Progress::default());
    let sent = progress.clone();
    graph.source("source", move |mut output: Output<Token>| {
        output.mark(Mark::EpochEnd { epoch: 0 })?;
        (0..10).try_for_each(|value| sent.send(&mut output, Token::new(value)))
    });
    let gate = Gate::closed();
    let sink = graph.collect_through("sink", gate.clone());
    graph.chain(&["source", "sink"], items(4));
    let (pipeline, monitor) = build(graph);
    let run = std::thread::spawn(move || pipeline.run());

    // The mark and three tokens fill the edge; the fourth token waits.
    eventually((4, 3, Activity::OutputWait), || state(&progress, &monitor, "source"));
    stays((4, 3, Activity::OutputWait), || state(&progress, &monitor, "source"));
    gate.release();
    assert!(matches!(run.join().unwrap().status, Status::Done));
    assert_eq!(sink.packets()[0], Packet::Mark(Mark::EpochEnd { epoch: 0 }));
}

/// The plain model of one edge: a queue that admits the next item while it has room.
struct Model {
    limits: EdgeLimits,
    queue: VecDeque<usize>,
    next: usize,
}

impl Model {
    fn admit(&mut self, sizes: &[usize]) {
        while let Some(&size) = sizes.get(self.next) {
            let bytes: usize = self.queue.iter().sum();
            let fits = size == 0 || bytes == 0 || bytes + size <= self.limits.bytes;
            if self.queue.len() == self.limits.items || !fits {
                return;
            }
            self.queue.push_back(size);
            self.next += 1;
        }
    }
}

fn sized_run(sizes: Vec<usize>, limits: EdgeLimits) {
    let mut graph = GraphBuilder::new();
    let progress = Arc::new(Progress::default());
    let (sent, to_send) = (progress.clone(), sizes.clone());
    graph.source("source", move |mut output| {
        let tokens = to_send.iter().zip(0..).map(|(&bytes, value)| Token { value, bytes });
        tokens.into_iter().try_for_each(|token| sent.send(&mut output, token))
    });
    let gate = Gate::closed();
    let sink: Collected = graph.collect_through("sink", gate.clone());
    graph.chain(&["source", "sink"], limits);
    let (pipeline, monitor) = build(graph);
    let run = std::thread::spawn(move || pipeline.run());
    let gauge = &monitor.edges()[0].gauge;

    let mut model = Model { limits, queue: VecDeque::new(), next: 0 };
    for taken in 0..sizes.len() {
        model.admit(&sizes);
        let complete = model.next as u64;
        let doing = if model.next == sizes.len() { Activity::Done } else { Activity::OutputWait };
        let begun = sizes.len().min(model.next + 1) as u64;
        eventually((begun, complete, doing), || state(&progress, &monitor, "source"));
        eventually(taken, || sink.packets().len());
        let held: usize = model.queue.iter().sum();
        assert_eq!(gauge.bytes(), held, "bytes after {taken} were taken of {sizes:?} with {limits:?}");
        assert!(held <= limits.bytes || model.queue.iter().filter(|&&size| size > 0).count() == 1);
        model.queue.pop_front();
        gate.allow(1);
    }
    gate.release();
    assert!(matches!(run.join().unwrap().status, Status::Done));
    assert_eq!(sink.values(), numbers(sizes.len() as u64));
    assert_eq!(gauge.bytes(), 0);
}

#[test]
fn bytes_bound_an_edge_as_the_plain_model_says() {
    // The draw is Knuth's MMIX generator; only its high bits are used.
    let mut state = 0x5eed_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..60 {
        let limits = EdgeLimits { items: 1 + draw(8) as usize, bytes: 1 + draw(100) as usize };
        let count = 5 + draw(25);
        // One item in four has no bytes, and some are larger than the edge.
        let mut size = || if draw(4) == 0 { 0 } else { 1 + draw(120) as usize };
        let sizes = (0..count).map(|_| size()).collect();
        sized_run(sizes, limits);
    }
}

#[test]
fn an_item_larger_than_the_edge_travels_alone() {
    sized_run(vec![10, 500, 10, 10, 500, 500, 0, 10], EdgeLimits { items: 8, bytes: 100 });
    // A bound of 0 bytes is the smallest one. It lets through one item with bytes at a time.
    sized_run(vec![10, 20, 0, 30], EdgeLimits { items: 8, bytes: 0 });
}
