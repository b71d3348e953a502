//! Laws: with a cap on the bytes of the whole graph, an item is queued when all queued bytes, this item included, stay
//! within the cap, or when its edge is empty. No wake-up is lost. The results are the same whatever the cap.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use framewise_pipeline::edge::meter::Activity;
use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::engine::{Outcome, RunOptions, Status};
use framewise_pipeline::testing::{
    Collected, Gate, GraphBuilder, Progress, Token, eventually, items, output, ports, stage_fn, stays, within,
};
use framewise_pipeline::{Input, Output, Packet};

const LIMIT: Duration = Duration::from_secs(60);

/// A draw of Knuth's MMIX generator, of which only the high bits are used.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// An edge on which a gate lets through each send and each receive.
struct Line {
    send: Gate,
    take: Gate,
    progress: Arc<Progress>,
    sink: Collected,
}

impl Line {
    fn add(graph: &mut GraphBuilder, index: usize, sizes: Vec<usize>) -> Self {
        let (send, take, progress) = (Gate::closed(), Gate::closed(), Arc::new(Progress::default()));
        let (gate, sent) = (send.clone(), progress.clone());
        let (source, sink) = (format!("source{index}"), format!("sink{index}"));
        graph.source(&source, move |mut output| {
            sizes.iter().zip(0..).try_for_each(|(&bytes, value)| {
                gate.pass();
                sent.send(&mut output, Token { value, bytes })
            })
        });
        let collected = graph.collect_through(&sink, take.clone());
        graph.chain(&[&source, &sink], items(1000));
        Self { send, take, progress, sink: collected }
    }

    fn now(&self) -> (u64, u64, usize) {
        (self.progress.begun(), self.progress.complete(), self.sink.packets().len())
    }
}

/// The plain model. Each edge has a queue, the numbers of items that were sent and taken, and the item that waits. On
/// all edges together, at most one item waits.
struct Model {
    cap: usize,
    queues: Vec<VecDeque<usize>>,
    begun: Vec<usize>,
    taken: Vec<usize>,
    waiting: Option<(usize, usize)>,
}

impl Model {
    fn queued(&self) -> usize {
        self.queues.iter().flatten().sum()
    }

    fn offer(&mut self, edge: usize, bytes: usize) {
        let empty = self.queues[edge].iter().sum::<usize>() == 0;
        if bytes == 0 || empty || self.queued() + bytes <= self.cap {
            self.queues[edge].push_back(bytes);
            self.waiting = None;
        } else {
            self.waiting = Some((edge, bytes));
        }
    }

    fn take(&mut self, edge: usize) {
        self.queues[edge].pop_front();
        self.taken[edge] += 1;
        if let Some((edge, bytes)) = self.waiting {
            self.offer(edge, bytes);
        }
    }

    fn expected(&self, edge: usize) -> (u64, u64, usize) {
        let waits = usize::from(self.waiting.is_some_and(|(waiting, _)| waiting == edge));
        (self.begun[edge] as u64, (self.begun[edge] - waits) as u64, self.taken[edge])
    }
}

#[test]
fn bytes_are_admitted_as_the_plain_model_says() {
    let mut draw = Draw(0x5eed);
    for round in 0..12 {
        const EDGES: usize = 3;
        const COUNT: usize = 25;
        let cap = 1 + draw.below(150) as usize;
        let mut size = || if draw.below(5) == 0 { 0 } else { 1 + draw.below(60) as usize };
        let sizes: Vec<Vec<usize>> = (0..EDGES).map(|_| (0..COUNT).map(|_| size()).collect()).collect();
        let mut graph = GraphBuilder::new();
        let lines: Vec<Line> = (0..EDGES).map(|i| Line::add(&mut graph, i, sizes[i].clone())).collect();
        graph.memory(cap);
        let pipeline = graph.build(&RunOptions::default()).unwrap();
        let monitor = pipeline.monitor();
        let run = std::thread::spawn(move || within(LIMIT, || pipeline.run()));

        let (queues, begun, taken) = (vec![VecDeque::new(); EDGES], vec![0; EDGES], vec![0; EDGES]);
        let mut model = Model { cap, queues, begun, taken, waiting: None };
        let mut peak = 0;
        for _ in 0..EDGES * COUNT {
            let edge = draw.below(EDGES as u64) as usize;
            // While an item waits, nobody else sends. It is therefore no race which item comes next.
            if model.waiting.is_none() && model.begun[edge] < COUNT && draw.below(3) > 0 {
                let bytes = sizes[edge][model.begun[edge]];
                model.begun[edge] += 1;
                model.offer(edge, bytes);
                lines[edge].send.allow(1);
            } else if !model.queues[edge].is_empty() {
                model.take(edge);
                lines[edge].take.allow(1);
            }
            for (edge, line) in lines.iter().enumerate() {
                eventually(model.expected(edge), || line.now());
            }
            eventually(model.queued(), || monitor.memory().unwrap().queued());
            peak = peak.max(model.queued());
            let gauges: usize = monitor.edges().iter().map(|edge| edge.gauge.bytes()).sum();
            assert_eq!(gauges, model.queued(), "round {round}, cap {cap}");
        }
        assert_eq!(monitor.memory().unwrap().peak(), peak);
        for line in &lines {
            line.send.release();
            line.take.release();
        }
        let outcome = run.join().unwrap();
        assert!(matches!(outcome.status, Status::Done));
        for line in &lines {
            assert_eq!(line.sink.values(), (0..COUNT as u64).collect::<Vec<_>>());
            assert!(line.sink.ended());
        }
        assert_eq!(monitor.memory().unwrap().queued(), 0);
    }
}

fn activity(monitor: &Monitor, stage: &str) -> Activity {
    monitor.stages().iter().find(|s| s.name == stage).unwrap().meter.activity()
}

#[test]
fn room_made_on_one_edge_wakes_the_sender_of_another() {
    let mut graph = GraphBuilder::new();
    let lines = [Line::add(&mut graph, 0, vec![6, 4]), Line::add(&mut graph, 1, vec![1, 3])];
    graph.memory(10);
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    let run = std::thread::spawn(move || within(LIMIT, || pipeline.run()));
    lines[0].send.release();
    eventually((2, 2, 0), || lines[0].now());
    // 10 of 10 bytes are queued. The first item of the other edge passes even so, and its second item waits.
    lines[1].send.release();
    let blocked = || (lines[1].now(), activity(&monitor, "source1"));
    eventually(((2, 1, 0), Activity::OutputWait), blocked);
    stays(((2, 1, 0), Activity::OutputWait), blocked);
    assert_eq!(monitor.memory().unwrap().queued(), 11);
    // The item that waits wants 3 bytes. A place comes free on the other edge.
    lines[0].take.allow(1);
    eventually(((2, 2, 0), Activity::Done), blocked);
    assert_eq!(monitor.memory().unwrap().queued(), 8);
    for line in &lines {
        line.take.release();
    }
    assert!(matches!(run.join().unwrap().status, Status::Done));
}

/// Runs two crossing chains at full speed. Returns what arrives, and the size of the largest item.
fn busy(cap: Option<usize>) -> (Outcome, Vec<Vec<u64>>) {
    let mut graph = GraphBuilder::new();
    let mut sinks = Vec::new();
    for (index, seed) in [(0, 11), (1, 12), (2, 13)] {
        let names = ["source", "pass", "sink"].map(|name| format!("{name}{index}"));
        graph.source(&names[0], move |mut output: Output<Token>| {
            let mut draw = Draw(seed);
            (0..20_000).try_for_each(|value| {
                output.send(Token { value, bytes: draw.below(LARGEST as u64 + 1) as usize })
            })
        });
        graph.pass(&names[1]);
        sinks.push(graph.collect(&names[2]));
        graph.chain(&[&names[0], &names[1], &names[2]], items(16));
    }
    if let Some(cap) = cap {
        graph.memory(cap);
    }
    let outcome = within(LIMIT, || graph.run());
    (outcome, sinks.iter().map(Collected::values).collect())
}

const LARGEST: usize = 20;

#[test]
fn at_full_speed_the_bound_holds_and_no_wake_up_is_lost() {
    let (_, expected) = busy(None);
    assert!(expected.iter().all(|values| *values == (0..20_000).collect::<Vec<_>>()));
    for cap in [1, 50, 200] {
        let (outcome, values) = busy(Some(cap));
        assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
        assert!(values == expected, "the same whatever the cap");
        let memory = outcome.monitor.memory().unwrap();
        let edges = outcome.monitor.edges().len();
        assert_eq!(edges, 6);
        assert!(memory.peak() <= cap + edges * LARGEST, "{} with a cap of {cap}", memory.peak());
        assert_eq!(memory.queued(), 0);
    }
    // There are six edges of sixteen items of ten bytes on average. Without the cap, they hold more than the bound
    // allows.
    let (outcome, _) = busy(Some(usize::MAX));
    assert!(outcome.monitor.memory().unwrap().peak() > 50 + 6 * LARGEST);
}

#[test]
fn the_bytes_that_an_early_end_leaves_are_given_back() {
    let mut graph = GraphBuilder::new();
    let (early, late) = (Gate::closed(), Gate::closed());
    let held = early.clone();
    let progress = Arc::new(Progress::default());
    let sent = progress.clone();
    graph.stage(
        "source",
        ports(&[], &[output::<Token>("left"), output::<Token>("right")]),
        move |wiring, _| {
            let (mut left, mut right) = (wiring.output("left")?, wiring.output("right")?);
            Ok(stage_fn(move || {
                (0..3).try_for_each(|value| sent.send(&mut left, Token { value, bytes: 4 }))?;
                // The first item passes, since its edge is empty. The next one must find that the 12 bytes are gone.
                (0..3).try_for_each(|value| sent.send(&mut right, Token { value, bytes: 4 }))
            }))
        },
    );
    graph.sink("left", move |_: Input<Token>| {
        held.pass();
        Ok(())
    });
    let right = graph.collect_through("right", late.clone());
    graph
        .edge("source.left", "left.input", items(8))
        .edge("source.right", "right.input", items(8))
        .memory(12);
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    let run = std::thread::spawn(move || within(LIMIT, || pipeline.run()));
    eventually((5, 4), || (progress.begun(), progress.complete()));
    stays((5, 4), || (progress.begun(), progress.complete()));
    assert_eq!(monitor.memory().unwrap().queued(), 16);
    early.release();
    eventually((6, 6), || (progress.begun(), progress.complete()));
    assert_eq!(monitor.memory().unwrap().queued(), 12);
    late.release();
    assert!(matches!(run.join().unwrap().status, Status::Done));
    assert_eq!(right.values(), [0, 1, 2]);
}

#[test]
fn a_sender_that_waits_for_the_cap_is_stopped_and_freed() {
    // The wait ends by the stop token.
    let mut graph = GraphBuilder::new();
    let lines = [Line::add(&mut graph, 0, vec![5]), Line::add(&mut graph, 1, vec![1, 5])];
    graph.memory(5);
    let options = RunOptions::default();
    let pipeline = graph.build(&options).unwrap();
    let run = std::thread::spawn(move || within(LIMIT, || pipeline.run()));
    lines[0].send.release();
    eventually((1, 1, 0), || lines[0].now());
    lines[1].send.release();
    eventually((2, 1, 0), || lines[1].now());
    options.stop.trip();
    lines.iter().for_each(|line| line.take.release());
    assert!(matches!(run.join().unwrap().status, Status::Stopped));

    // The wait ends when the sender's own consumer ends, while the other edge still fills the cap.
    let mut graph = GraphBuilder::new();
    let (first, leave) = (Line::add(&mut graph, 0, vec![5]), Gate::closed());
    let (progress, gate) = (Arc::new(Progress::default()), leave.clone());
    let sent = progress.clone();
    graph.source("source", move |mut output| {
        (0..9).try_for_each(|value| sent.send(&mut output, Token { value, bytes: 1 }))
    });
    graph.sink("sink", move |mut input: Input<Token>| {
        gate.pass();
        assert!(matches!(input.recv()?, Packet::Item(_)));
        gate.pass();
        Ok(())
    });
    graph.chain(&["source", "sink"], items(8)).memory(5);
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    let run = std::thread::spawn(move || within(LIMIT, || pipeline.run()));
    first.send.release();
    eventually((1, 1, 0), || first.now());
    eventually(Activity::OutputWait, || activity(&monitor, "source"));
    leave.release();
    eventually(Activity::Done, || activity(&monitor, "source"));
    first.take.release();
    assert!(matches!(run.join().unwrap().status, Status::Done));
}
