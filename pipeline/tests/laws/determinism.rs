//! Law: the result does not depend on capacities, byte bounds or the scheduler.

use std::time::Duration;

use framewise_pipeline::edge::channel::EdgeLimits;
use framewise_pipeline::engine::Status;
use framewise_pipeline::testing::{GraphBuilder, Token, input, items, output, ports, stage_fn, within};
use framewise_pipeline::{Emitter, Input, Mark, Output, Packet, StageError, Transform};

const LIMIT: Duration = Duration::from_secs(60);
const EPOCHS: u64 = 3;
const PER_EPOCH: u64 = 40;

fn spread(value: u64) -> u64 {
    value.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)
}

/// A transform that sums pairs of items. An item that is left over at a mark goes out alone. So one item gives no item
/// or one.
#[derive(Default)]
struct Pair(Option<Token>);

impl Transform for Pair {
    type In = Token;
    type Out = Token;

    fn process(&mut self, item: Token, out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
        match self.0.take() {
            None => self.0 = Some(item),
            Some(first) => {
                let value = first.value.wrapping_mul(3).wrapping_add(item.value);
                out.emit(Token { value, bytes: first.bytes + item.bytes })?;
            }
        }
        Ok(())
    }

    fn at_mark(&mut self, _mark: Mark, out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
        self.0.take().map_or(Ok(()), |token| out.emit(token))
    }
}

/// Computes without an engine what the graph computes. Returns what `left`, `right` and `states` get.
fn plainly() -> [Vec<Packet<Token>>; 3] {
    let [mut left, mut right, mut states] = [const { Vec::new() }; 3];
    let mut version: u64 = 1;
    for epoch in 0..EPOCHS {
        let values: Vec<u64> = (epoch * PER_EPOCH..(epoch + 1) * PER_EPOCH).map(spread).collect();
        for pair in values.chunks(2) {
            let value = pair[0].wrapping_mul(3).wrapping_add(pair[1]);
            left.push(Packet::Item(Token { value, bytes: 20 }));
            right.push(Packet::Item(Token { value: !value, bytes: 20 }));
            version = spread(version ^ value).wrapping_add(version);
            states.push(Packet::Item(Token::new(version)));
        }
        left.push(Packet::Mark(Mark::EpochEnd { epoch }));
        right.push(Packet::Mark(Mark::EpochEnd { epoch }));
    }
    [&mut left, &mut right, &mut states].into_iter().for_each(|packets| packets.push(Packet::End));
    [left, right, states]
}

/// The graph source → pair → left, pair → invert → right, with a loop on the pairs → states.
fn run(mut limits: impl FnMut() -> EdgeLimits) -> [Vec<Packet<Token>>; 3] {
    let mut graph = GraphBuilder::new();
    graph.source("source", |mut output: Output<Token>| {
        for epoch in 0..EPOCHS {
            for value in epoch * PER_EPOCH..(epoch + 1) * PER_EPOCH {
                output.send(Token { value: spread(value), bytes: 10 })?;
            }
            output.mark(Mark::EpochEnd { epoch })?;
        }
        Ok(())
    });
    graph.stage("pair", ports(&[input::<Token>("input")], &[output::<Token>("output")]), |wiring, _| {
        Ok(Pair::default().between(wiring.input("input")?, wiring.output("output")?))
    });
    graph.middle("invert", |mut input: Input<Token>, mut output: Output<Token>| {
        loop {
            match input.recv()? {
                Packet::Item(token) => output.send(Token { value: !token.value, ..token })?,
                Packet::Mark(mark) => output.mark(mark)?,
                Packet::End => return Ok(()),
            }
        }
    });
    let forward = ports(&[input::<Token>("steps"), input::<Token>("weights")], &[output::<Token>("output")]);
    graph.stage("forward", forward, |wiring, _| {
        let mut steps: Input<Token> = wiring.input("steps")?;
        let mut weights: Input<Token> = wiring.input("weights")?;
        let mut output: Output<Token> = wiring.output("output")?;
        Ok(stage_fn(move || {
            loop {
                match steps.recv()? {
                    Packet::Item(step) => {
                        let Packet::Item(version) = weights.recv()? else { return Ok(()) };
                        output.send(Token::new(spread(version.value ^ step.value)))?;
                    }
                    Packet::Mark(mark) => output.mark(mark)?,
                    Packet::End => return Ok(()),
                }
            }
        }))
    });
    let outputs = [output::<Token>("weights").delayed(), output::<Token>("states")];
    graph.stage("optimizer", ports(&[input::<Token>("input")], &outputs), |wiring, _| {
        let mut gradients: Input<Token> = wiring.input("input")?;
        let mut weights: Output<Token> = wiring.output("weights")?;
        let mut states: Output<Token> = wiring.output("states")?;
        Ok(stage_fn(move || {
            let mut version = 1_u64;
            weights.send(Token::new(version))?;
            loop {
                match gradients.recv()? {
                    Packet::Item(gradient) => {
                        version = gradient.value.wrapping_add(version);
                        weights.send(Token::new(version))?;
                        states.send(Token::new(version))?;
                    }
                    Packet::Mark(_) => {}
                    Packet::End => return Ok(()),
                }
            }
        }))
    });
    let sinks = ["left", "right", "states"].map(|name| graph.collect(name));
    for (from, to) in [
        ("source.output", "pair.input"),
        ("pair.output", "left.input"),
        ("pair.output", "invert.input"),
        ("invert.output", "right.input"),
        ("pair.output", "forward.steps"),
        ("forward.output", "optimizer.input"),
        ("optimizer.weights", "forward.weights"),
        ("optimizer.states", "states.input"),
    ] {
        graph.edge(from, to, limits());
    }
    let outcome = within(LIMIT, || graph.run());
    assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
    sinks.map(|sink| sink.packets())
}

#[test]
fn capacities_1_to_8_give_the_same_result() {
    let wanted = plainly();
    for capacity in 1..=8 {
        for _ in 0..10 {
            assert_eq!(run(|| items(capacity)), wanted, "capacity {capacity}");
        }
    }
}

#[test]
fn mixed_capacities_and_byte_bounds_give_the_same_result() {
    let wanted = plainly();
    // The draw is Knuth's MMIX generator; only its high bits are used.
    let mut state = 0xfeed_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % below) as usize
    };
    for _ in 0..100 {
        let got = run(|| EdgeLimits { items: 1 + draw(8), bytes: 5 + draw(60) });
        assert_eq!(got, wanted);
    }
}
