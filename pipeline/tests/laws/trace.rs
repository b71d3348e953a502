//! Laws: the spans of a traced run add up to the times of its last reading, follow one another without a gap, and never
//! overlap. Every packet has an arrow from the span that made it to the span that took it. What is beyond the bounds of
//! a trace is counted.

use std::thread;
use std::time::Duration;

use framewise_pipeline::edge::meter::Activity;
use framewise_pipeline::engine::trace::{StageTrace, Trace, TraceLimits};
use framewise_pipeline::engine::{Outcome, RunOptions, Status};
use framewise_pipeline::testing::{GraphBuilder, items, within};
use framewise_pipeline::{Input, Mark, Output, Packet, Payload};

const LIMIT: Duration = Duration::from_secs(60);

/// The items that the source of the tests sends.
const ITEMS: u64 = 60;

/// A payload of a step, or of none.
#[derive(Debug, Clone)]
struct OfStep(Option<u64>);

impl Payload for OfStep {
    const NAME: &'static str = "numbered";

    fn step(&self) -> Option<u64> {
        self.0
    }
}

/// The graph source → slow → sink with a mark in the middle of its items, traced. The stage `slow` sleeps 2 ms for each
/// item and gives it its step.
fn traced(limits: Option<TraceLimits>) -> Outcome {
    let mut graph = GraphBuilder::new();
    graph.source("source", |mut output: Output<OfStep>| {
        for item in 0..ITEMS {
            output.send(OfStep(None))?;
            if item == ITEMS / 2 {
                output.mark(Mark::EpochEnd { epoch: 0 })?;
            }
        }
        Ok(())
    });
    graph.middle("slow", |mut input: Input<OfStep>, mut output: Output<OfStep>| {
        let mut step = 0;
        loop {
            match input.recv()? {
                Packet::Item(_) => {
                    step += 1;
                    thread::sleep(Duration::from_millis(2));
                    output.send(OfStep(Some(step)))?;
                }
                Packet::Mark(mark) => output.mark(mark)?,
                Packet::End => return Ok(()),
            }
        }
    });
    graph.sink("sink", |mut input: Input<OfStep>| {
        loop {
            match input.recv()? {
                // Each step takes the sink half a millisecond at least.
                Packet::Item(_) => thread::sleep(Duration::from_micros(500)),
                Packet::Mark(_) => {}
                Packet::End => return Ok(()),
            }
        }
    });
    graph.edge("source.output", "slow.input", items(2));
    graph.edge("slow.output", "sink.input", items(2));
    let options = RunOptions { trace: limits, ..RunOptions::default() };
    let outcome = within(LIMIT, move || graph.build(&options).unwrap().run());
    assert!(matches!(outcome.status, Status::Done));
    outcome
}

/// The seconds of an activity in the spans of a stage.
fn seconds(stage: &StageTrace, activity: Activity) -> f64 {
    let of = stage.spans.iter().filter(|span| span.activity == activity);
    of.map(|span| span.end - span.begin).sum::<u64>() as f64 / 1e9
}

/// Checks that the times of each stage in the trace, with those that were not recorded, are those of the last reading.
fn check_sums(outcome: &Outcome, trace: &Trace) {
    let last = outcome.monitor.read();
    for (stage, reading) in trace.stages.iter().zip(&last.stages) {
        let unrecorded = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        for (activity, left_out, expected) in [
            (Activity::Busy, stage.unrecorded.busy, reading.busy),
            (Activity::InputWait, stage.unrecorded.input_wait, reading.input_wait),
            (Activity::OutputWait, stage.unrecorded.output_wait, reading.output_wait),
        ] {
            let sum = seconds(stage, activity) + unrecorded(left_out);
            assert!(
                (sum - expected).abs() < 1e-9,
                "{activity:?}: {sum} in the trace, {expected} in the reading"
            );
        }
    }
}

#[test]
fn spans_have_no_gap_and_add_up_to_the_last_reading() {
    let outcome = traced(Some(TraceLimits::default()));
    let trace = outcome.monitor.take_trace().unwrap();
    check_sums(&outcome, &trace);
    for stage in &trace.stages {
        assert_eq!(stage.spans[0].begin, 0, "all clocks start when the run begins");
        assert!(stage.spans.windows(2).all(|pair| pair[0].end == pair[1].begin), "{:?}", stage.spans);
        assert!(stage.spans.iter().all(|span| span.begin < span.end));
        let waits = |span: &framewise_pipeline::engine::trace::Span| span.activity != Activity::Busy;
        assert!(stage.spans.iter().all(|span| waits(span) == span.port.is_some()));
        assert_eq!(stage.unrecorded.spans, 0);
    }
    let ports = |index: usize| trace.stages[index].spans.iter().filter_map(|span| span.port);
    assert!(ports(0).all(|port| port == "output") && ports(2).all(|port| port == "input"));
    assert!(ports(0).count() > 0 && ports(2).count() > 0, "the middle stage is the slow one");
}

#[test]
fn an_arrow_goes_from_the_span_that_made_a_packet_to_the_one_that_took_it() {
    let outcome = traced(Some(TraceLimits::default()));
    let trace = outcome.monitor.take_trace().unwrap();
    for (edge, ends) in trace.edges.iter().zip(outcome.monitor.edges()) {
        assert_eq!(edge.packets.len() as u64, ITEMS + 1, "the items and the mark");
        assert_eq!(edge.unrecorded, 0);
        for &(sent, received) in &edge.packets {
            assert!(sent <= received, "{sent} and {received}");
            for (stage, at) in [(ends.from, sent), (ends.to, received)] {
                let spans = &trace.stages[stage].spans;
                let busy = spans
                    .iter()
                    .any(|span| span.activity == Activity::Busy && (span.begin..=span.end).contains(&at));
                assert!(busy, "{at} lies in no busy span of stage {stage}");
            }
        }
        let ordered =
            |by: fn(&(u64, u64)) -> u64| edge.packets.windows(2).all(|pair| by(&pair[0]) <= by(&pair[1]));
        assert!(ordered(|packet| packet.0) && ordered(|packet| packet.1), "an edge keeps the order");
    }
}

#[test]
fn the_work_on_a_step_has_its_number() {
    let outcome = traced(Some(TraceLimits::default()));
    let trace = outcome.monitor.take_trace().unwrap();
    // The source knows no steps. The slow stage names the step when it sends it, and the sink when it has received it.
    assert!(trace.stages[0].spans.iter().all(|span| span.step.is_none()));
    for (stage, least) in [(1, 0.002), (2, 0.000_5)] {
        for step in 1..=ITEMS {
            let busy = trace.stages[stage].spans.iter();
            let busy = busy.filter(|span| span.step == Some(step) && span.activity == Activity::Busy);
            let seconds = busy.map(|span| span.end - span.begin).sum::<u64>() as f64 / 1e9;
            assert!(seconds >= least, "step {step} of stage {stage}: {seconds}");
        }
    }
}

#[test]
fn what_is_beyond_the_bounds_is_counted_and_the_times_stay_whole() {
    let outcome = traced(Some(TraceLimits { spans: 30, packets: 20 }));
    let trace = outcome.monitor.take_trace().unwrap();
    check_sums(&outcome, &trace);
    for stage in &trace.stages {
        // Each of three stages has a third of the room.
        assert_eq!(stage.spans.len(), 10);
        assert!(stage.unrecorded.spans > 0);
        assert_eq!(stage.spans[9].end, stage.unrecorded.begin);
    }
    for edge in &trace.edges {
        assert_eq!((edge.packets.len() as u64, edge.unrecorded), (10, ITEMS + 1 - 10));
    }
}

#[test]
fn a_run_that_is_not_traced_has_no_trace() {
    assert!(traced(None).monitor.take_trace().is_none());
}
