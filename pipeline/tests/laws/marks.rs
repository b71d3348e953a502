//! Laws: a mark keeps its place between the items and reaches every stage. What a transform emits at a mark stands
//! before the mark.

use std::time::Duration;

use framewise_pipeline::engine::Status;
use framewise_pipeline::testing::{GraphBuilder, Token, input, items, output, ports, within};
use framewise_pipeline::{Emitter, Mark, Output, Packet, StageError, Transform};

const LIMIT: Duration = Duration::from_secs(30);

fn mark(epoch: u64) -> Packet<Token> {
    Packet::Mark(Mark::EpochEnd { epoch })
}

fn item(value: u64) -> Packet<Token> {
    Packet::Item(Token::new(value))
}

/// A source of `epochs` epochs with `per_epoch` tokens each, and a mark behind each epoch.
fn epochs(graph: &mut GraphBuilder, epochs: u64, per_epoch: u64) -> Vec<Packet<Token>> {
    graph.source("source", move |mut output: Output<Token>| {
        for epoch in 0..epochs {
            for i in 0..per_epoch {
                output.send(Token::new(epoch * per_epoch + i))?;
            }
            output.mark(Mark::EpochEnd { epoch })?;
        }
        Ok(())
    });
    let of = |epoch| (epoch * per_epoch..(epoch + 1) * per_epoch).map(item).chain([mark(epoch)]);
    (0..epochs).flat_map(of).chain([Packet::End]).collect()
}

fn add(graph: &mut GraphBuilder, name: &str, transform: impl Transform<In = Token, Out = Token> + 'static) {
    graph.stage(name, ports(&[input::<Token>("input")], &[output::<Token>("output")]), |wiring, _| {
        Ok(transform.between(wiring.input("input")?, wiring.output("output")?))
    });
}

/// A transform that holds everything back until a mark or the end, and then emits it in reverse.
#[derive(Default)]
struct Reverse(Vec<Token>);

impl Transform for Reverse {
    type In = Token;
    type Out = Token;

    fn process(&mut self, item: Token, _out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
        self.0.push(item);
        Ok(())
    }

    fn at_mark(&mut self, _mark: Mark, out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
        self.0.drain(..).rev().try_for_each(|token| out.emit(token))
    }

    fn at_end(&mut self, out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
        self.0.drain(..).rev().try_for_each(|token| out.emit(token))
    }
}

/// A transform that emits every item `n` times.
struct Repeat(u64);

impl Transform for Repeat {
    type In = Token;
    type Out = Token;

    fn process(&mut self, item: Token, out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
        (0..self.0).try_for_each(|_| out.emit(item))
    }
}

#[test]
fn marks_keep_their_place_through_every_branch() {
    for capacity in [1, 2, 3, 8] {
        let mut graph = GraphBuilder::new();
        let wanted = epochs(&mut graph, 5, 4);
        graph.pass("a").pass("b").pass("c");
        let through = graph.collect("through");
        let direct = graph.collect("direct");
        let aside = graph.collect("aside");
        graph.chain(&["source", "a", "b", "through"], items(capacity));
        graph.chain(&["source", "direct"], items(1));
        graph.chain(&["b", "c", "aside"], items(capacity));
        assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
        assert_eq!(through.packets(), wanted);
        assert_eq!(direct.packets(), wanted);
        assert_eq!(aside.packets(), wanted);
    }
}

#[test]
fn epochs_without_items_have_their_marks() {
    let mut graph = GraphBuilder::new();
    let wanted = epochs(&mut graph, 3, 0);
    add(&mut graph, "reverse", Reverse::default());
    let sink = graph.collect("sink");
    graph.chain(&["source", "reverse", "sink"], items(1));
    assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
    assert_eq!(sink.packets(), wanted);
}

#[test]
fn what_is_emitted_at_a_mark_stands_before_it() {
    let mut graph = GraphBuilder::new();
    epochs(&mut graph, 2, 3);
    add(&mut graph, "reverse", Reverse::default());
    let sink = graph.collect("sink");
    graph.chain(&["source", "reverse", "sink"], items(1));
    assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
    let first = [item(2), item(1), item(0), mark(0)];
    let second = [item(5), item(4), item(3), mark(1)];
    assert_eq!(sink.packets(), [&first[..], &second, &[Packet::End]].concat());
}

#[test]
fn what_is_emitted_at_the_end_stands_before_it() {
    let mut graph = GraphBuilder::new();
    graph.counting_source("source", 3);
    add(&mut graph, "reverse", Reverse::default());
    let sink = graph.collect("sink");
    graph.chain(&["source", "reverse", "sink"], items(1));
    assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
    assert_eq!(sink.packets(), [item(2), item(1), item(0), Packet::End]);
}

#[test]
fn a_transform_may_give_many_items_or_none_for_one() {
    for (times, wanted) in [(0, vec![]), (3, vec![0, 0, 0, 1, 1, 1, 2, 2, 2])] {
        let mut graph = GraphBuilder::new();
        epochs(&mut graph, 1, 3);
        add(&mut graph, "repeat", Repeat(times));
        let sink = graph.collect("sink");
        graph.chain(&["source", "repeat", "sink"], items(2));
        assert!(matches!(within(LIMIT, || graph.run()).status, Status::Done));
        assert_eq!(sink.values(), wanted);
        assert_eq!(sink.packets()[wanted.len()..], [mark(0), Packet::End]);
    }
}

#[test]
fn a_failure_at_a_mark_keeps_the_mark_back() {
    struct Fails;
    impl Transform for Fails {
        type In = Token;
        type Out = Token;
        fn process(&mut self, item: Token, out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
            out.emit(item)
        }
        fn at_mark(&mut self, _mark: Mark, _out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
            Err(framewise_pipeline::Failure::data("not at this mark").into())
        }
    }
    for _ in 0..100 {
        let mut graph = GraphBuilder::new();
        epochs(&mut graph, 2, 2);
        add(&mut graph, "fails", Fails);
        let sink = graph.collect("sink");
        graph.chain(&["source", "fails", "sink"], items(2));
        let outcome = within(LIMIT, || graph.run());
        assert!(matches!(outcome.status, Status::Failed(error) if error.stage == "fails"));
        assert!(
            sink.packets().iter().all(|packet| matches!(packet, Packet::Item(_))),
            "nothing to commit at"
        );
    }
}
