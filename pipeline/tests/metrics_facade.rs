//! Law: every reading of a run goes out through the `metrics` facade, both during the run and once more at its end.
//!
//! This is a test binary of its own, because the recorder is global.

#![allow(clippy::unwrap_used, reason = "a test may stop where its assumption fails")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use framewise_pipeline::engine::RunOptions;
use framewise_pipeline::testing::{Gate, GraphBuilder, Token, eventually, items, within};
use framewise_pipeline::{Input, Output, Packet};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// A recorder that keeps the last value of every series, both counters and gauges, as the bits of an `f64`.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<BTreeMap<String, Arc<Value>>>>);

#[derive(Default)]
struct Value(AtomicU64);

impl CounterFn for Value {
    fn increment(&self, _value: u64) {
        unreachable!("the pipeline sets counters to absolute values");
    }

    fn absolute(&self, value: u64) {
        self.set(value as f64);
    }
}

impl GaugeFn for Value {
    fn increment(&self, _value: f64) {
        unreachable!("the pipeline sets gauges");
    }

    fn decrement(&self, _value: f64) {
        unreachable!("the pipeline sets gauges");
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::SeqCst);
    }
}

impl Table {
    fn value(&self, key: &Key) -> Arc<Value> {
        let labels: Vec<_> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
        let series = format!("{} {}", key.name(), labels.join(" "));
        self.0.lock().unwrap().entry(series).or_default().clone()
    }

    /// The value of the series that is written `name label=value …`.
    fn get(&self, series: &str) -> Option<f64> {
        self.0.lock().unwrap().get(series).map(|value| f64::from_bits(value.0.load(Ordering::SeqCst)))
    }
}

impl Recorder for Table {
    fn describe_counter(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}
    fn describe_gauge(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}
    fn describe_histogram(&self, _key: KeyName, _unit: Option<Unit>, _description: SharedString) {}

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, _key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn readings_are_published_live_and_at_the_end() {
    let table = Table::default();
    metrics::set_global_recorder(table.clone()).expect("the only recorder of this binary");

    let mut graph = GraphBuilder::new();
    let gate = Gate::closed();
    graph.source("source", |mut output: Output<Token>| {
        (0..20).try_for_each(|value| output.send(Token { value, bytes: 6 }))
    });
    let held = gate.clone();
    graph.sink("sink", move |mut input: Input<Token>| {
        held.pass();
        while input.recv()? != Packet::End {}
        Ok(())
    });
    graph.chain(&["source", "sink"], items(4));
    let pipeline = graph.build(&RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    let run = std::thread::spawn(move || within(Duration::from_secs(60), || pipeline.run()));

    let stage = |metric: &str, stage: &str| {
        table.get(&format!("framewise_stage_{metric} graph=in_code stage={stage} type=in_code"))
    };
    let edge = |metric: &str| {
        table.get(&format!("framewise_edge_{metric} graph=in_code from=source.output to=sink.input"))
    };
    // During the run, four items are in the edge and the source waits.
    eventually(Some(4.0), || edge("depth_items"));
    eventually(Some(4.0), || stage("sent_items_total", "source"));
    eventually(Some(24.0), || edge("depth_bytes"));
    assert_eq!(edge("capacity_items"), Some(4.0));
    assert_eq!(stage("workers", "source"), Some(1.0));
    eventually(true, || stage("output_wait_seconds_total", "source") > Some(0.05));
    assert_eq!(stage("received_items_total", "sink"), Some(0.0));

    monitor.stages()[0].meter.reject("broken");
    gate.release();
    let outcome = run.join().unwrap();

    // At the end, the values are the final readings, to the digit.
    let last = outcome.monitor.read();
    for (index, monitored) in outcome.monitor.stages().iter().enumerate() {
        let now = &last.stages[index];
        let name = monitored.name.as_str();
        let published = |metric| stage(metric, name);
        assert_eq!(published("sent_items_total"), Some(now.items_out as f64));
        assert_eq!(published("sent_bytes_total"), Some(now.bytes_out as f64));
        assert_eq!(published("received_items_total"), Some(now.items_in as f64));
        assert_eq!(published("received_bytes_total"), Some(now.bytes_in as f64));
        assert_eq!(published("busy_seconds_total"), Some(now.busy));
        assert_eq!(published("input_wait_seconds_total"), Some(now.input_wait));
        assert_eq!(published("output_wait_seconds_total"), Some(now.output_wait));
        assert_eq!(published("utilization_ratio"), Some(last.shares(index).busy));
    }
    assert_eq!(stage("received_items_total", "sink"), Some(20.0));
    assert_eq!(stage("received_bytes_total", "sink"), Some(120.0));
    assert_eq!((edge("depth_items"), edge("depth_bytes")), (Some(0.0), Some(0.0)));
    let rejected =
        "framewise_stage_rejected_records_total graph=in_code stage=source type=in_code reason=broken";
    assert_eq!(table.get(rejected), Some(1.0));

    // A graph that is run again, as an evaluation is, counts on from where its last run stopped.
    let options = RunOptions { earlier: Arc::default(), ..RunOptions::default() };
    let mut busy = 0.0;
    for runs in [1.0, 2.0, 3.0] {
        let mut graph = GraphBuilder::new();
        graph.counting_source("source", 20);
        graph.collect("sink");
        graph.chain(&["source", "sink"], items(4));
        let pipeline = graph.build(&options).unwrap();
        let last = within(Duration::from_secs(60), || pipeline.run()).monitor.read();
        busy += last.stages[1].busy;
        assert_eq!(stage("received_items_total", "sink"), Some(runs * 20.0));
        assert_eq!(stage("busy_seconds_total", "sink"), Some(busy));
        assert_eq!(stage("utilization_ratio", "sink"), Some(last.shares(1).busy), "that of the last run");
    }
}
