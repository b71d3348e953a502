//! Laws: a tripped stop token ends every blocking call at once, and the run is `Stopped`. A request to finish lets the
//! run reach its end, and the run is `FinishedEarly`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use framewise_pipeline::edge::channel::EdgeLimits;
use framewise_pipeline::edge::meter::Activity;
use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::engine::{Outcome, RunOptions, Status};
use framewise_pipeline::testing::{Gate, GraphBuilder, Token, eventually, items, ports, stage_fn, within};
use framewise_pipeline::{Input, Output, Packet, StageError, StopToken};

const LIMIT: Duration = Duration::from_secs(30);

/// A time limit that is far longer than a wake-up takes, even on a busy machine.
const PROMPT: Duration = Duration::from_secs(2);

struct Running {
    stop: StopToken,
    monitor: Monitor,
    run: JoinHandle<Outcome>,
}

fn start(graph: GraphBuilder) -> Running {
    let options = RunOptions::default();
    let pipeline = graph.build(&options).unwrap();
    let monitor = pipeline.monitor();
    Running { stop: options.stop, monitor, run: std::thread::spawn(move || within(LIMIT, || pipeline.run())) }
}

impl Running {
    fn wait_until(&self, activities: &[Activity]) {
        let now = || self.monitor.stages().iter().map(|s| s.meter.activity()).collect::<Vec<_>>();
        eventually(activities.to_vec(), now);
    }

    fn trip(self) -> Outcome {
        let start = Instant::now();
        assert!(self.stop.trip());
        let outcome = self.run.join().unwrap();
        assert!(start.elapsed() < PROMPT, "{:?}", start.elapsed());
        assert!(matches!(outcome.status, Status::Stopped), "{:?}", outcome.status);
        outcome
    }
}

/// A sink that reads nothing and waits for the gate.
fn deaf(graph: &mut GraphBuilder, name: &str) -> Gate {
    let gate = Gate::closed();
    let held = gate.clone();
    graph.sink(name, move |input: Input<Token>| {
        held.pass();
        drop(input);
        Err(StageError::Stopped)
    });
    gate
}

fn sends_until_stopped(graph: &mut GraphBuilder, bytes: usize) -> Arc<Mutex<Option<String>>> {
    let told = Arc::new(Mutex::new(None));
    let note = told.clone();
    graph.source("source", move |mut output: Output<Token>| {
        let result = (0..).try_for_each(|value| output.send(Token { value, bytes }));
        *note.lock().unwrap() = Some(format!("{result:?}"));
        result
    });
    told
}

#[test]
fn a_send_that_waits_for_a_place_is_woken() {
    let mut graph = GraphBuilder::new();
    let told = sends_until_stopped(&mut graph, 0);
    let gate = deaf(&mut graph, "sink");
    graph.chain(&["source", "sink"], items(3));
    let running = start(graph);
    running.wait_until(&[Activity::OutputWait, Activity::Busy]);
    assert_eq!(running.monitor.edges()[0].gauge.items(), 3);
    let trip = running.stop.clone();
    // The sink stays in its own code. The source must end before the sink does.
    assert!(trip.trip());
    eventually(true, || told.lock().unwrap().is_some());
    gate.release();
    assert!(matches!(running.run.join().unwrap().status, Status::Stopped));
    assert_eq!(told.lock().unwrap().as_deref(), Some("Err(Stopped)"));
}

#[test]
fn a_send_that_waits_for_bytes_is_woken() {
    let mut graph = GraphBuilder::new();
    let told = sends_until_stopped(&mut graph, 40);
    let gate = deaf(&mut graph, "sink");
    graph.chain(&["source", "sink"], EdgeLimits { items: 100, bytes: 100 });
    let running = start(graph);
    running.wait_until(&[Activity::OutputWait, Activity::Busy]);
    assert_eq!(running.monitor.edges()[0].gauge.items(), 2, "places are left, bytes are not");
    assert!(running.stop.trip());
    eventually(true, || told.lock().unwrap().is_some());
    gate.release();
    assert!(matches!(running.run.join().unwrap().status, Status::Stopped));
    assert_eq!(told.lock().unwrap().as_deref(), Some("Err(Stopped)"));
}

#[test]
fn a_receive_that_waits_is_woken() {
    let mut graph = GraphBuilder::new();
    let gate = Gate::closed();
    let held = gate.clone();
    graph.source("source", move |output: Output<Token>| {
        held.pass();
        drop(output);
        Err(StageError::Stopped)
    });
    graph.pass("middle");
    let sink = graph.collect("sink");
    graph.chain(&["source", "middle", "sink"], items(1));
    let running = start(graph);
    running.wait_until(&[Activity::Busy, Activity::InputWait, Activity::InputWait]);
    eventually(1, || gate.waiting());
    assert!(running.stop.trip());
    running.wait_until(&[Activity::Busy, Activity::Done, Activity::Done]);
    gate.release();
    assert!(matches!(running.run.join().unwrap().status, Status::Stopped));
    assert_eq!(sink.packets(), []);
}

#[test]
fn a_hundred_waiting_stages_are_woken_by_one_trip() {
    let mut graph = GraphBuilder::new();
    sends_until_stopped(&mut graph, 0);
    let names: Vec<_> = (0..100).map(|i| format!("pass{i}")).collect();
    names.iter().for_each(|name| _ = graph.pass(name));
    let gate = Gate::closed();
    let sink = graph.collect_through("sink", gate.clone());
    let chain: Vec<_> =
        std::iter::once("source").chain(names.iter().map(String::as_str)).chain(["sink"]).collect();
    graph.chain(&chain, items(1));
    let running = start(graph);
    let mut waiting = vec![Activity::OutputWait; 101];
    waiting.push(Activity::Busy);
    running.wait_until(&waiting);
    eventually(1, || gate.waiting());
    running.stop.trip();
    waiting.fill(Activity::Done);
    waiting[101] = Activity::Busy;
    running.wait_until(&waiting);
    gate.release();
    assert!(matches!(running.run.join().unwrap().status, Status::Stopped));
    assert_eq!(sink.packets(), []);
}

#[test]
fn after_a_trip_no_port_moves_anything() {
    // There is room in one edge and an item in the other. A tripped token goes before both.
    let mut graph = GraphBuilder::new();
    let (begun, tripped) = (Arc::new(Barrier::new(3)), Arc::new(Barrier::new(3)));
    let told = Arc::new(Mutex::new(Vec::new()));
    let (began, barrier, note) = (begun.clone(), tripped.clone(), told.clone());
    graph.source("source", move |mut output: Output<Token>| {
        output.send(Token::new(0))?;
        began.wait();
        barrier.wait();
        let result = output.send(Token::new(1));
        note.lock().unwrap().push(format!("{result:?}"));
        result
    });
    let (began, barrier, note) = (begun.clone(), tripped.clone(), told.clone());
    graph.sink("sink", move |mut input: Input<Token>| {
        began.wait();
        barrier.wait();
        let result = input.recv();
        note.lock().unwrap().push(format!("{result:?}"));
        result.map(|_| ())
    });
    graph.chain(&["source", "sink"], items(5));
    let running = start(graph);
    // A stage that has not begun would not begin after the trip.
    begun.wait();
    eventually(1, || running.monitor.edges()[0].gauge.items());
    running.stop.trip();
    tripped.wait();
    assert!(matches!(running.run.join().unwrap().status, Status::Stopped));
    assert_eq!(*told.lock().unwrap(), ["Err(Stopped)", "Err(Stopped)"]);
}

#[test]
fn a_source_that_nobody_listens_to_stops_too() {
    let mut graph = GraphBuilder::new();
    sends_until_stopped(&mut graph, 0);
    let running = start(graph);
    running.wait_until(&[Activity::Busy]);
    running.trip();
}

#[test]
fn a_token_tripped_before_the_run_starts_no_stage() {
    let mut graph = GraphBuilder::new();
    let begun = Arc::new(AtomicUsize::new(0));
    let count = begun.clone();
    graph.stage("stage", ports(&[], &[]), move |_, _| {
        Ok(stage_fn(move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }))
    });
    let options = RunOptions::default();
    options.stop.trip();
    let outcome = graph.build(&options).unwrap().run();
    assert!(matches!(outcome.status, Status::Stopped));
    assert_eq!(begun.load(Ordering::SeqCst), 0);
}

#[test]
fn a_busy_pipeline_stops_wherever_it_is() {
    // The trip falls into every state of a chain at full speed. The run is either done and lost nothing, or it is
    // stopped and no stage saw an end.
    let mut stopped = 0;
    for round in 0..400_u32 {
        let mut graph = GraphBuilder::new();
        graph.counting_source("source", 2000);
        graph.pass("middle");
        let sink = graph.collect("sink");
        graph.chain(&["source", "middle", "sink"], items(1 + round as usize % 3));
        let running = start(graph);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(5 * u64::from(round)) {
            std::hint::spin_loop();
        }
        running.stop.trip();
        let outcome = running.run.join().unwrap();
        // Where this thread was kept waiting, the run may be over before the trip.
        let done = matches!(outcome.status, Status::Done) && sink.ended();
        assert!(done || matches!(outcome.status, Status::Stopped), "{:?}", outcome.status);
        stopped += usize::from(!sink.ended());
        if sink.ended() {
            assert_eq!(sink.values().len(), 2000, "an end only behind everything");
        }
        assert_eq!(sink.values(), (0..sink.values().len() as u64).collect::<Vec<_>>());
    }
    assert!(stopped > 0, "no trip came in time: the test has tested nothing");
}

#[test]
fn one_of_many_trips_is_the_first() {
    for _ in 0..200 {
        let stop = StopToken::new();
        assert!(!stop.is_tripped());
        let together = Barrier::new(4);
        let first: usize = std::thread::scope(|scope| {
            let trip = || {
                together.wait();
                usize::from(stop.trip())
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(trip)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(first, 1);
        assert!(stop.is_tripped() && stop.clone().is_tripped());
    }
}

#[test]
fn a_request_to_finish_reaches_the_end_with_what_is_done() {
    let mut graph = GraphBuilder::new();
    graph.source("source", |mut output: Output<Token>| {
        (0..).try_for_each(|value| output.send(Token::new(value)))
    });
    // This stage does what forward does in training: it looks before each step, and ends as if the input had ended
    // there.
    let forward = ports(
        &[framewise_pipeline::testing::input::<Token>("input")],
        &[framewise_pipeline::testing::output::<Token>("output")],
    );
    graph.stage("forward", forward, |wiring, context| {
        let mut input: Input<Token> = wiring.input("input")?;
        let mut output: Output<Token> = wiring.output("output")?;
        let stop = context.stop.clone();
        Ok(stage_fn(move || {
            while let Packet::Item(token) = input.recv()? {
                if stop.finish_requested() {
                    break;
                }
                output.send(token)?;
            }
            Ok(())
        }))
    });
    let gate = Gate::closed();
    let sink = graph.collect_through("sink", gate.clone());
    graph.chain(&["source", "forward", "sink"], items(2));
    let running = start(graph);
    running.wait_until(&[Activity::OutputWait, Activity::OutputWait, Activity::Busy]);
    running.stop.request_finish();
    assert!(!running.stop.is_tripped());
    gate.release();
    let outcome = running.run.join().unwrap();
    assert!(matches!(outcome.status, Status::FinishedEarly), "{:?}", outcome.status);
    // At the request, two items were in the edge and forward held one. The next one was not passed on.
    assert_eq!(sink.values(), [0, 1, 2]);
    assert!(sink.ended());
}

#[test]
fn a_failure_after_a_request_to_finish_is_a_failure() {
    let mut graph = GraphBuilder::new();
    graph.source("source", |_: Output<Token>| Err(framewise_pipeline::Failure::data("late").into()));
    graph.collect("sink");
    graph.chain(&["source", "sink"], items(1));
    let options = RunOptions::default();
    options.stop.request_finish();
    assert!(matches!(graph.build(&options).unwrap().run().status, Status::Failed(_)));
}
