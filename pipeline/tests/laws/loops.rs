//! Laws: a loop through a delayed output runs in step: round n sees version n and no other. Whatever the capacities,
//! the loop ends when its input ends. A failure anywhere in the loop ends it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use framewise_pipeline::engine::{Outcome, Status};
use framewise_pipeline::testing::{
    Collected, GraphBuilder, Token, input, items, output, ports, stage_fn, within,
};
use framewise_pipeline::{Failure, Input, Output, Packet, Payload, StageError};

const LIMIT: Duration = Duration::from_secs(60);

/// The payload that the loop carries back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    number: u64,
    value: u64,
}

impl Payload for Version {
    const NAME: &'static str = "versions";

    fn byte_len(&self) -> usize {
        8
    }
}

fn forward_of(value: u64, step: u64) -> u64 {
    value.rotate_left(7) ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn update_of(value: u64, gradient: u64) -> u64 {
    value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(gradient)
}

/// Computes in a plain loop what the graph computes. Returns the values after each round.
fn plain_loop(rounds: u64) -> Vec<u64> {
    let mut value = 1;
    (0..rounds)
        .map(|step| {
            value = update_of(value, forward_of(value, step));
            value
        })
        .collect()
}

/// The stage that fails, and the round in which it fails.
#[derive(Clone, Copy)]
struct Fails {
    stage: &'static str,
    at: u64,
    panics: bool,
}

fn maybe_fail(fails: Option<Fails>, stage: &str, round: u64) -> Result<(), StageError> {
    match fails {
        Some(Fails { stage: failing, at, panics }) if failing == stage && at == round => {
            if panics {
                std::panic::resume_unwind(Box::new("in the loop"));
            }
            Err(Failure::data("in the loop").into())
        }
        _ => Ok(()),
    }
}

struct Loop {
    outcome: Outcome,
    /// The value after each round, as the stage outside the loop got it.
    states: Collected,
    /// The versions that `forward` has taken.
    taken: Vec<u64>,
}

/// The graph source → forward → backward → optimizer ⇒ forward, optimizer → states, with these capacities.
fn run_loop(rounds: u64, capacities: [usize; 4], weights: usize, fails: Option<Fails>) -> Loop {
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", rounds);

    let taken = Arc::new(Mutex::new(Vec::new()));
    let versions = taken.clone();
    let forward_inputs = [input::<Token>("steps"), input::<Version>("weights")];
    graph.stage("forward", ports(&forward_inputs, &[output::<Token>("output")]), move |wiring, _| {
        let mut steps: Input<Token> = wiring.input("steps")?;
        let mut weights: Input<Version> = wiring.input("weights")?;
        let mut output: Output<Token> = wiring.output("output")?;
        Ok(stage_fn(move || {
            while let Packet::Item(step) = steps.recv()? {
                maybe_fail(fails, "forward", step.value)?;
                let Packet::Item(version) = weights.recv()? else {
                    return Err(Failure::internal("the weights ended before the steps").into());
                };
                versions.lock().unwrap().push(version.number);
                output.send(Token::new(forward_of(version.value, step.value)))?;
            }
            Ok(())
        }))
    });
    graph.middle("backward", move |mut input: Input<Token>, mut output: Output<Token>| {
        let mut round = 0;
        while let Packet::Item(token) = input.recv()? {
            maybe_fail(fails, "backward", round)?;
            round += 1;
            output.send(token)?;
        }
        Ok(())
    });
    let optimizer_outputs = [output::<Version>("weights").delayed(), output::<Token>("states")];
    graph.stage("optimizer", ports(&[input::<Token>("input")], &optimizer_outputs), move |wiring, _| {
        let mut gradients: Input<Token> = wiring.input("input")?;
        let mut weights: Output<Version> = wiring.output("weights")?;
        let mut states: Output<Token> = wiring.output("states")?;
        Ok(stage_fn(move || {
            let mut version = Version { number: 0, value: 1 };
            weights.send(version)?;
            while let Packet::Item(gradient) = gradients.recv()? {
                maybe_fail(fails, "optimizer", version.number)?;
                version =
                    Version { number: version.number + 1, value: update_of(version.value, gradient.value) };
                weights.send(version)?;
                states.send(Token::new(version.value))?;
            }
            Ok(())
        }))
    });
    let states = graph.collect("states");

    let [steps, passes, gradients, reports] = capacities.map(items);
    graph.edge("source.output", "forward.steps", steps);
    graph.edge("forward.output", "backward.input", passes);
    graph.edge("backward.output", "optimizer.input", gradients);
    graph.edge("optimizer.states", "states.input", reports);
    graph.edge("optimizer.weights", "forward.weights", items(weights));
    let outcome = within(LIMIT, || graph.run());
    let taken = taken.lock().unwrap().clone();
    Loop { outcome, states, taken }
}

#[test]
fn a_thousand_rounds_equal_the_plain_loop() {
    for capacity in 1..=8 {
        let ran = run_loop(1000, [capacity; 4], capacity, None);
        assert!(matches!(ran.outcome.status, Status::Done), "{:?}", ran.outcome.status);
        assert_eq!(ran.states.values(), plain_loop(1000));
        assert!(ran.states.ended());
        assert_eq!(ran.taken, (0..1000).collect::<Vec<_>>(), "round n takes version n");
    }
}

#[test]
fn any_mix_of_capacities_does() {
    for capacities in [[1, 8, 1, 8], [8, 1, 8, 1], [2, 3, 5, 7]] {
        for weights in [1, 2, 8] {
            let ran = run_loop(100, capacities, weights, None);
            assert!(matches!(ran.outcome.status, Status::Done));
            assert_eq!(ran.states.values(), plain_loop(100));
        }
    }
}

#[test]
fn a_loop_without_a_round_ends() {
    for rounds in [0, 1] {
        for _ in 0..200 {
            let ran = run_loop(rounds, [1; 4], 1, None);
            assert!(matches!(ran.outcome.status, Status::Done));
            assert_eq!(ran.states.values(), plain_loop(rounds));
            assert!(ran.states.ended());
        }
    }
}

#[test]
fn the_last_version_needs_no_taker() {
    // The optimizer sends one version more than forward takes. The consumer of that edge may have ended by then or not.
    // Neither case closes the optimizer, which must still reach its own end.
    for _ in 0..300 {
        let ran = run_loop(3, [1; 4], 1, None);
        assert!(matches!(ran.outcome.status, Status::Done));
        assert_eq!(ran.states.values(), plain_loop(3));
        assert!(ran.states.ended());
        // It is a race whether version 3 was still taken into the edge.
        let sent = ran.outcome.monitor.stages()[3].meter.read().items_out;
        assert!((6..=7).contains(&sent), "three states, versions 0 to 2, perhaps 3: {sent}");
    }
}

#[test]
fn a_failure_in_any_stage_of_the_loop_ends_it() {
    for round in 0..400 {
        let stage = ["forward", "backward", "optimizer"][round % 3];
        let fails = Fails { stage, at: (round / 3 % 6) as u64, panics: round % 2 == 0 };
        let ran = run_loop(1_000_000, [1 + round % 4; 4], 1 + round % 3, Some(fails));
        let Status::Failed(error) = &ran.outcome.status else { panic!("{:?}", ran.outcome.status) };
        assert_eq!(error.stage, stage);
        assert!(error.failure.to_string().ends_with("in the loop"), "{error}");
        assert!(!ran.states.packets().contains(&Packet::End));
        // The values are those of the plain loop, as far as the run came.
        let values = ran.states.values();
        assert_eq!(values, plain_loop(values.len() as u64));
        assert!(values.len() as u64 <= fails.at);
    }
}

#[test]
fn a_delayed_output_may_feed_stages_outside_the_loop_too() {
    // A second consumer of the versions gets all of them, the last one too, after forward has ended.
    for round in 0..100 {
        let mut graph = GraphBuilder::new();
        graph.counting_source("source", 20);
        let inputs = [input::<Token>("steps"), input::<Token>("weights")];
        graph.stage("forward", ports(&inputs, &[output::<Token>("output")]), |wiring, _| {
            let mut steps: Input<Token> = wiring.input("steps")?;
            let mut weights: Input<Token> = wiring.input("weights")?;
            let mut output: Output<Token> = wiring.output("output")?;
            Ok(stage_fn(move || {
                while let Packet::Item(step) = steps.recv()? {
                    let Packet::Item(version) = weights.recv()? else { break };
                    output.send(Token::new(step.value + version.value))?;
                }
                Ok(())
            }))
        });
        let optimizer = ports(&[input::<Token>("input")], &[output::<Token>("weights").delayed()]);
        graph.stage("optimizer", optimizer, |wiring, _| {
            let mut gradients: Input<Token> = wiring.input("input")?;
            let mut weights: Output<Token> = wiring.output("weights")?;
            Ok(stage_fn(move || {
                weights.send(Token::new(0))?;
                while let Packet::Item(token) = gradients.recv()? {
                    weights.send(token)?;
                }
                Ok(())
            }))
        });
        let watcher = graph.collect("watcher");
        graph.edge("source.output", "forward.steps", items(1));
        graph.chain(&["forward", "optimizer"], items(1 + round % 3));
        graph.edge("optimizer.weights", "forward.weights", items(1));
        graph.edge("optimizer.weights", "watcher.input", items(1 + round % 2));
        assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
        // Version n is 0 + 0 + 1 + … + (n − 1).
        assert_eq!(watcher.values(), (0..=20).map(|n: u64| n * n.saturating_sub(1) / 2).collect::<Vec<_>>());
        assert!(watcher.ended());
    }
}
