//! Diagnoses of readings that are written by hand. They are for causes that take real work on cores, of which a test on
//! a crowded machine has never the same. The causes that sleeping stages can make are in `tests/laws/diagnosis.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::edge::channel::EdgeLimits;
use crate::edge::meter::{Activity, StageReading, StageState};
use crate::engine::reading::{EdgeReading, Reading};
use crate::engine::units::{UnitEdge, Units};

/// A chain of stages, each with the shares of a second that it works and that it is on a core.
struct Chain {
    stages: Vec<(&'static str, f64, f64)>,
    workers: Vec<(u64, Option<u64>)>,
    /// The cores that threads of no stage use.
    helpers: f64,
    /// The share of their time off the core for which the stages' threads wait for a core.
    queued: Option<f64>,
    /// The number of threads of no stage that wait for a core.
    helpers_queued: f64,
    cores: usize,
}

impl Chain {
    fn new(stages: &[(&'static str, f64, f64)], cores: usize) -> Self {
        Self {
            stages: stages.to_vec(),
            workers: vec![(1, None); stages.len()],
            helpers: 0.0,
            queued: None,
            helpers_queued: 0.0,
            cores,
        }
    }

    fn workers(mut self, stage: usize, now: u64, most: u64) -> Self {
        self.workers[stage] = (now, Some(most));
        self
    }

    fn queued(mut self, share: f64) -> Self {
        self.queued = Some(share);
        self
    }

    fn helpers_queued(mut self, threads: f64) -> Self {
        self.helpers_queued = threads;
        self
    }

    fn helpers(mut self, cores: f64) -> Self {
        self.helpers = cores;
        self
    }

    /// The diagnosis after ten seconds in which `busy` gives the share of a stage in each second.
    fn over(&self, busy: impl Fn(usize, usize) -> f64) -> Bottleneck {
        let count = self.stages.len();
        let mut sums = vec![(0.0, 0.0); count];
        let mut readings = Vec::new();
        for second in 0..=10_usize {
            if second > 0 {
                for (stage, sum) in sums.iter_mut().enumerate() {
                    let share = busy(stage, second);
                    let on_core = self.stages[stage].2 / self.stages[stage].1;
                    *sum = (sum.0 + share, sum.1 + share * on_core);
                }
            }
            readings.push(Arc::new(self.reading(second, &sums)));
        }
        let edges: Vec<_> = (1..count).map(|to| EdgeFacts { from: to - 1, to }).collect();
        let unit_edges: Vec<_> =
            edges.iter().map(|e| UnitEdge { from: e.from, to: e.to, delayed: false }).collect();
        let stages = self.stages.iter().zip(&self.workers);
        let stages = stages.map(|(stage, workers)| StageFacts {
            name: stage.0,
            workers: workers.0,
            most_workers: workers.1,
        });
        let last = readings.pop().unwrap();
        diagnose(&Facts {
            stages: stages.collect(),
            edges,
            units: &Units::of(count, &unit_edges),
            history: &readings,
            last: &last,
            cores: self.cores,
        })
    }

    fn diagnose(&self) -> Bottleneck {
        self.over(|stage, _| self.stages[stage].1)
    }

    fn reading(&self, second: usize, sums: &[(f64, f64)]) -> Reading {
        let items = 100 * second as u64;
        let stages = sums.iter().map(|(busy, cpu)| StageReading {
            items_in: items,
            items_out: items,
            busy: *busy,
            input_wait: second as f64 - busy,
            cpu: Some(*cpu),
            queued: self.queued.map(|share| (busy - cpu) * share),
            ..StageReading::default()
        });
        let limits = EdgeLimits { items: 4, bytes: usize::MAX };
        let edge = EdgeReading {
            items: 0,
            bytes: 0,
            limits,
            output_wait: 0.0,
            input_wait: 0.0,
            samples: 20 * second as u64,
            items_sum: 0,
            bytes_sum: 0,
        };
        let state = StageState { activity: Activity::Busy, port: None, since: Duration::ZERO };
        let own: f64 = sums.iter().map(|(_, cpu)| cpu).sum();
        Reading {
            seconds: second as f64,
            cpu: Some(own + self.helpers * second as f64),
            queued: self.queued.map(|share| {
                let own: f64 = sums.iter().map(|(busy, cpu)| (busy - cpu) * share).sum();
                own + self.helpers_queued * second as f64
            }),
            stages: stages.collect(),
            states: vec![state; sums.len()],
            edges: vec![edge; sums.len() - 1],
            units: sums.iter().map(|(busy, _)| *busy).collect(),
        }
    }
}

fn told(bottleneck: &Bottleneck) -> (Option<&str>, Reason, Option<String>) {
    (bottleneck.stage.as_deref(), bottleneck.reason, bottleneck.edit.as_ref().map(ToString::to_string))
}

/// Compares factors, which come out of divisions.
#[track_caller]
fn assert_times(found: Option<f64>, expected: f64) {
    assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?}, not {expected}");
}

#[test]
fn a_source_that_inflates_computes_and_one_that_waits_reads() {
    // The decoder could be twice as fast as the source.
    let inflating =
        Chain::new(&[("videos", 1.0, 0.95), ("decode", 0.5, 0.5), ("out", 0.1, 0.1)], 8).diagnose();
    assert_eq!(told(&inflating), (Some("videos"), Reason::Computes, None));
    assert_times(inflating.at_most, 2.0);
    assert!(inflating.advice.contains("then `decode` is the limit"), "{}", inflating.advice);

    let waiting = Chain::new(&[("videos", 1.0, 0.03), ("decode", 0.5, 0.5), ("out", 0.1, 0.1)], 8).diagnose();
    assert_eq!(told(&waiting), (Some("videos"), Reason::Reads, None));
    assert!(waiting.why.contains("only 3.0% of that on a core"), "{}", waiting.why);
}

#[test]
fn a_decoder_that_computes_gets_as_many_workers_as_there_are_cores() {
    let stages = [("videos", 0.2, 0.2), ("decode", 1.0, 1.0), ("out", 0.1, 0.1)];
    // Another stage would be the limit at five times the rate, and the cores at 4 / 1.3 times.
    let four = Chain::new(&stages, 4).workers(1, 1, 256).diagnose();
    assert_eq!(told(&four), (Some("decode"), Reason::Computes, Some("stages.decode.workers = 4".to_owned())));
    assert_times(four.at_most, 4.0 / 1.3);
    assert!(four.advice.contains("then the cores are the limit"), "{}", four.advice);

    // The key takes no more than two.
    let two = Chain::new(&stages, 4).workers(1, 1, 2).diagnose();
    assert_eq!(told(&two).2.as_deref(), Some("stages.decode.workers = 2"));
    assert_times(two.at_most, 2.0);

    // A type without the key is never told to set it.
    let without = Chain::new(&stages, 4).diagnose();
    assert_eq!(told(&without), (Some("decode"), Reason::Computes, None));
    assert!(!without.advice.contains("workers"), "{}", without.advice);
}

#[test]
fn threads_of_a_pool_count_as_work_of_the_stage_that_waits_for_them() {
    // The decoder's own thread waits for its two workers, which are on a core nearly all the time.
    let stages = [("videos", 0.2, 0.2), ("decode", 1.0, 0.05), ("out", 0.1, 0.1)];
    let chain = Chain::new(&stages, 8).workers(1, 2, 256).helpers(1.8).diagnose();
    assert_eq!(
        told(&chain),
        (Some("decode"), Reason::Computes, Some("stages.decode.workers = 8".to_owned()))
    );
    // Four times the workers, or 8 / 2.15 times what the cores do.
    assert_times(chain.at_most, 8.0 / 2.15);
    // The same stage without any work of helpers waits for something outside.
    let waits = Chain::new(&stages, 8).diagnose();
    assert_eq!(told(&waits).1, Reason::WaitsOutside);
}

#[test]
fn more_stages_that_compute_than_cores_are_too_few_cores() {
    // Four stages want a core each all the time, and get half of one.
    let stages = [("a", 1.0, 0.5), ("b", 1.0, 0.5), ("c", 1.0, 0.5), ("d", 0.9, 0.45)];
    let found = Chain::new(&stages, 2).workers(0, 1, 256).diagnose();
    assert_eq!(told(&found), (Some("a"), Reason::TooFewCores, None));
    // With a core each, every stage takes half the time.
    assert_times(found.at_most, 2.0);
    assert!(found.advice.contains("4 cores") && found.why.contains("of 2 cores"), "{found:?}");
    // The same load does not fill four cores, so there the first stage is the limit.
    let enough = Chain::new(&stages, 4).diagnose();
    assert_ne!(enough.reason, Reason::TooFewCores);
}

#[test]
fn a_stage_whose_core_others_have_does_not_read() {
    let stages = [("videos", 0.9, 0.3), ("decode", 0.3, 0.1), ("out", 0.1, 0.05)];
    // Of 0.6 s off the core, the source waits 0.54 s for one. By itself it would work for 0.36 s.
    let crowded = Chain::new(&stages, 2).queued(0.9).diagnose();
    assert_eq!(told(&crowded), (Some("videos"), Reason::TooFewCores, None));
    assert_times(crowded.at_most, 1.0 / 0.36);
    assert!(crowded.advice.contains("other programs have the cores"), "{}", crowded.advice);
    let reading = Chain::new(&stages, 2).queued(0.1).diagnose();
    assert_eq!(told(&reading), (Some("videos"), Reason::Reads, None));
}

#[test]
fn a_stage_whose_helpers_have_no_core_waits_for_nothing_else() {
    // The thread of `forward` sleeps while the two threads that it started wait for cores that others have.
    let stages = [("videos", 0.1, 0.1), ("forward", 1.0, 0.1), ("out", 0.05, 0.05)];
    let crowded = Chain::new(&stages, 2).queued(0.0).helpers_queued(1.8).diagnose();
    assert_eq!(told(&crowded), (Some("forward"), Reason::TooFewCores, None));
    let outside = Chain::new(&stages, 2).queued(0.0).diagnose();
    assert_eq!(told(&outside), (Some("forward"), Reason::WaitsOutside, None));
}

#[test]
fn one_stage_that_uses_all_cores_computes() {
    let stages = [("videos", 0.1, 0.1), ("forward", 1.0, 0.9), ("out", 0.05, 0.05)];
    let found = Chain::new(&stages, 2).helpers(0.9).diagnose();
    assert_eq!(told(&found), (Some("forward"), Reason::Computes, None));
}

#[test]
fn parts_that_disagree_tell_nothing() {
    let chain = Chain::new(&[("videos", 1.0, 1.0), ("decode", 1.0, 1.0)], 8);
    let found =
        chain.over(|stage, second| if matches!(second, 2 | 3 | 6 | 7) == (stage == 0) { 1.0 } else { 0.1 });
    assert_eq!(told(&found), (None, Reason::TooUneven, None));
    assert_eq!(found.at_most, None);
    let even = chain.over(|stage, _| if stage == 0 { 1.0 } else { 0.1 });
    assert_eq!(told(&even).0, Some("videos"));
}
