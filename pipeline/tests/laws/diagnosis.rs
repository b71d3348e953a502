//! Laws: of a graph in which one cause of slowness is planted, the diagnosis names the unit, the reason and the edit.
//! Applying the edit raises the rate by what was said, within a quarter.
//!
//! The stages sleep, and what one sleep takes too long, the next ones take less. So the rates do not depend on how many
//! others share the machine.

use std::time::Duration;

use framewise_pipeline::engine::diagnosis::{Bottleneck, Reason};
use framewise_pipeline::engine::{Outcome, Status};
use framewise_pipeline::testing::{
    GraphBuilder, Sleeper, Token, input, items, output, ports, stage_fn, within,
};
use framewise_pipeline::{Input, Output, Packet};

const LIMIT: Duration = Duration::from_secs(120);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A graph videos → decode → out, with the time that each stage sleeps for an item.
#[derive(Clone, Copy)]
struct Chain {
    items: u64,
    videos: fn(u64) -> Duration,
    decode: Duration,
    workers: u64,
    out: Duration,
    capacity: usize,
}

const EVEN: Chain =
    Chain { items: 160, videos: |_| ms(2), decode: ms(2), workers: 1, out: ms(2), capacity: 4 };

impl Chain {
    fn run(self) -> (Bottleneck, f64) {
        let mut graph = GraphBuilder::new();
        graph.source("videos", move |mut output: Output<Token>| {
            let mut work = Sleeper::default();
            (0..self.items).try_for_each(|value| {
                work.sleep((self.videos)(value));
                output.send(Token::new(value))
            })
        });
        graph.middle("decode", move |mut input: Input<Token>, mut output: Output<Token>| {
            let mut work = Sleeper::default();
            while let Packet::Item(token) = input.recv()? {
                // This is what workers that share the items bring.
                work.sleep(self.decode / self.workers as u32);
                output.send(token)?;
            }
            Ok(())
        });
        graph.workers("decode", self.workers, 8);
        graph.sink("out", move |mut input: Input<Token>| {
            let mut work = Sleeper::default();
            while let Packet::Item(_) = input.recv()? {
                work.sleep(self.out);
            }
            Ok(())
        });
        graph.chain(&["videos", "decode", "out"], items(self.capacity));
        let outcome = within(LIMIT, || graph.run());
        (done(&outcome), self.items as f64 / outcome.wall_seconds)
    }

    /// The chain with the edit of a diagnosis.
    fn edited(self, bottleneck: &Bottleneck) -> Self {
        let edit = bottleneck.edit.as_ref().expect("the diagnosis has an edit");
        match (edit.stage.as_str(), edit.key) {
            ("decode", "workers") => Self { workers: edit.value, ..self },
            ("videos", "capacity") => Self { capacity: edit.value as usize, ..self },
            other => panic!("an edit of {other:?} was not expected"),
        }
    }
}

fn done(outcome: &Outcome) -> Bottleneck {
    assert!(matches!(outcome.status, Status::Done));
    outcome.monitor.bottleneck()
}

#[track_caller]
fn assert_told(found: &Bottleneck, stage: &str, reason: Reason) {
    assert_eq!((found.stage.as_deref(), found.reason), (Some(stage), reason), "{found:#?}");
}

/// Checks that a change made the run as many times as fast as was said.
#[track_caller]
fn assert_kept(found: &Bottleneck, before: f64, after: f64) {
    let (said, came) = (found.at_most.unwrap(), after / before);
    assert!((0.75..=1.25).contains(&(came / said)), "said {said}, came {came}: {found:#?}");
}

#[test]
fn a_slow_stage_with_workers_gets_more_of_them() {
    let slow = Chain { decode: ms(12), videos: |_| ms(4), ..EVEN };
    let (found, before) = slow.run();
    assert_told(&found, "decode", Reason::WaitsOutside);
    let edit = found.edit.as_ref().unwrap().to_string();
    assert!(["stages.decode.workers = 3", "stages.decode.workers = 4"].contains(&edit.as_str()), "{edit}");
    assert!(
        found.advice.contains(&edit) && found.advice.contains("then `videos` is the limit"),
        "{found:#?}"
    );
    assert!(found.why.contains("`videos` waits for room") && found.why.contains("`out` waits for input"));
    let (_, after) = slow.edited(&found).run();
    assert_kept(&found, before, after);
}

#[test]
fn a_slow_source_reads_and_what_faster_reading_brings_is_said() {
    let slow = Chain { videos: |_| ms(12), decode: ms(5), ..EVEN };
    let (found, before) = slow.run();
    assert_told(&found, "videos", Reason::Reads);
    assert_eq!(found.edit, None, "a source has no key for that");
    let (_, after) = Chain { videos: |_| Duration::ZERO, ..slow }.run();
    assert_kept(&found, before, after);
}

#[test]
fn a_slow_sink_writes_and_what_faster_writing_brings_is_said() {
    let slow = Chain { out: ms(12), decode: ms(5), ..EVEN };
    let (found, before) = slow.run();
    assert_told(&found, "out", Reason::Writes);
    assert_eq!(found.edit, None);
    let (_, after) = Chain { out: Duration::ZERO, ..slow }.run();
    assert_kept(&found, before, after);
}

#[test]
fn stages_that_wait_for_each_other_in_turn_get_room_between_them() {
    // The source pauses before every eighth item. With room for one item, the decoder waits meanwhile.
    let uneven = Chain {
        videos: |value| if value % 8 == 0 { ms(40) } else { Duration::ZERO },
        decode: ms(5),
        out: Duration::ZERO,
        capacity: 1,
        ..EVEN
    };
    let (found, before) = uneven.run();
    assert!([Reason::Starved, Reason::HeldUp].contains(&found.reason), "{found:#?}");
    assert_eq!(found.edit.as_ref().unwrap().to_string(), "stages.videos.capacity = 8", "{found:#?}");
    let (_, after) = uneven.edited(&found).run();
    assert_kept(&found, before, after);
}

#[test]
fn a_short_burst_and_a_warm_up_tell_nothing() {
    let (burst, _) = Chain { items: 20, ..EVEN }.run();
    assert_eq!((burst.stage, burst.reason, burst.at_most), (None, Reason::TooShort, None));
    assert!(burst.why.contains("too short"), "{}", burst.why);
    // The sink never receives a second item.
    let (cold, _) = Chain { items: 1, videos: |_| ms(800), ..EVEN }.run();
    assert_eq!((cold.stage, cold.reason), (None, Reason::TooShort));
    assert!(cold.why.contains("warm-up"), "{}", cold.why);
    // A few slow items are few samples, however long they take.
    let (few, _) = Chain { items: 5, videos: |_| ms(300), ..EVEN }.run();
    assert_eq!((few.stage, few.reason), (None, Reason::TooShort), "{}", few.why);
}

/// The graph source → [forward → optimizer → forward …], whose loop hands one version of the weights round.
fn training(count: u64, source: Duration, forward: Duration, optimizer: Duration) -> (Bottleneck, f64) {
    let mut graph = GraphBuilder::new();
    graph.source("source", move |mut output: Output<Token>| {
        let mut work = Sleeper::default();
        (0..count).try_for_each(|value| {
            work.sleep(source);
            output.send(Token::new(value))
        })
    });
    let inputs = [input::<Token>("steps"), input::<Token>("weights")];
    graph.stage("forward", ports(&inputs, &[output::<Token>("output")]), move |wiring, _| {
        let mut steps: Input<Token> = wiring.input("steps")?;
        let mut weights: Input<Token> = wiring.input("weights")?;
        let mut output: Output<Token> = wiring.output("output")?;
        Ok(stage_fn(move || {
            let mut work = Sleeper::default();
            while let Packet::Item(step) = steps.recv()? {
                weights.recv()?;
                work.sleep(forward);
                output.send(step)?;
            }
            Ok(())
        }))
    });
    let outputs = [output::<Token>("weights").delayed(), output::<Token>("states")];
    graph.stage("optimizer", ports(&[input::<Token>("gradients")], &outputs), move |wiring, _| {
        let mut gradients: Input<Token> = wiring.input("gradients")?;
        let mut weights: Output<Token> = wiring.output("weights")?;
        let mut states: Output<Token> = wiring.output("states")?;
        Ok(stage_fn(move || {
            let mut work = Sleeper::default();
            weights.send(Token::new(0))?;
            while let Packet::Item(token) = gradients.recv()? {
                work.sleep(optimizer);
                weights.send(token)?;
                states.send(token)?;
            }
            Ok(())
        }))
    });
    graph.collect("report");
    graph.edge("source.output", "forward.steps", items(4));
    graph.edge("forward.output", "optimizer.gradients", items(1));
    graph.edge("optimizer.weights", "forward.weights", items(1));
    graph.edge("optimizer.states", "report.input", items(4));
    let outcome = within(LIMIT, || graph.run());
    (done(&outcome), count as f64 / outcome.wall_seconds)
}

#[test]
fn a_loop_of_half_busy_stages_is_one_unit_that_works_all_the_time() {
    let (found, before) = training(80, ms(10), ms(16), ms(12));
    assert_told(&found, "forward", Reason::WaitsOutside);
    assert!(found.why.contains("the loop of `forward` to `optimizer`"), "{}", found.why);
    assert_eq!(found.edit, None);
    assert!(found.advice.contains("then `source` is the limit"), "{}", found.advice);
    let (_, after) = training(80, ms(10), Duration::ZERO, Duration::ZERO);
    assert_kept(&found, before, after);
}

#[test]
fn a_slow_stage_before_a_fast_loop_is_the_limit() {
    let (found, before) = training(80, ms(24), ms(6), ms(4));
    assert_told(&found, "source", Reason::Reads);
    assert!(
        found.advice.contains("then the loop of `forward` to `optimizer` is the limit"),
        "{}",
        found.advice
    );
    let (_, after) = training(80, Duration::ZERO, ms(6), ms(4));
    assert_kept(&found, before, after);
}
