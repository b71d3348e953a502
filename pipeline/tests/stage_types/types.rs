//! Stage types that a Rust type or a closure describes: as rows of the registry, and running.

use framewise_pipeline::engine::{RunOptions, Status};
use framewise_pipeline::prelude::*;
use framewise_pipeline::stage::typed::component;
use framewise_pipeline::testing::{Collected, GraphBuilder, Token, items};
use framewise_pipeline::{Component, Settings};
use toml::Value;

#[derive(Clone, Copy, Debug, PartialEq, KeyWord)]
enum Count {
    Once,
    Twice,
}

#[derive(Keys)]
struct Config {
    /// The number sent at the start.
    #[key(range = 1.., default = 100)]
    first: u64,
    /// How often each token is sent.
    #[key(default = Count::Twice)]
    count: Count,
    /// The capacity of the output, for the test of ports.
    #[key(range = 1..=64, required)]
    capacity: usize,
}

/// Sends a token at the start, each token once or twice, the number of those since the last mark at a mark, and 0 at the
/// end.
struct Counter {
    config: Config,
    since: u64,
}

impl TransformType for Counter {
    const NAME: &'static str = "counter";
    const DOC: &'static str = "Counts tokens. Sends the counts.";
    type Config = Config;

    fn ports(config: &Config) -> (InputPort, OutputPort) {
        (InputPort::of::<Token>("input"), OutputPort::of::<Token>("output", config.capacity))
    }

    fn check(config: &Config, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        let wrong = config.first == 13;
        wrong.then(|| ("first", "13 brings bad luck".to_owned())).into_iter().collect()
    }

    fn new(config: Config, context: &StageContext) -> Result<Self, Failure> {
        if config.first == 14 {
            return Err(Failure::config(format!("{} cannot begin with 14", context.stage)));
        }
        Ok(Self { config, since: 0 })
    }
}

impl Transform for Counter {
    type In = Token;
    type Out = Token;

    fn at_start(&mut self, out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
        out.emit(Token::new(self.config.first))
    }

    fn process(&mut self, token: Token, out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
        self.since += 1;
        if self.config.count == Count::Twice {
            out.emit(token)?;
        }
        out.emit(token)
    }

    fn at_mark(&mut self, _mark: Mark, out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
        out.emit(Token::new(std::mem::take(&mut self.since)))
    }

    fn at_end(&mut self, out: &mut Emitter<'_, Token>) -> Result<(), StageError> {
        out.emit(Token::new(0))
    }
}

/// 1, 2, the end of epoch 0, 3.
fn numbers(graph: &mut GraphBuilder) {
    graph.source("numbers", |mut output| {
        output.send(Token::new(1))?;
        output.send(Token::new(2))?;
        output.mark(Mark::EpochEnd { epoch: 0 })?;
        output.send(Token::new(3))
    });
}

/// The packets as text, marks as `|`.
fn shown(collected: &Collected) -> String {
    let packet = |packet: &Packet<Token>| match packet {
        Packet::Item(token) => token.value.to_string(),
        Packet::Mark(_) => "|".to_owned(),
        Packet::End => "end".to_owned(),
    };
    collected.packets().iter().map(packet).collect::<Vec<_>>().join(" ")
}

fn settings(values: &[(&str, Value)]) -> Settings {
    Settings { values: values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect() }
}

#[test]
fn a_transform_says_everything_of_its_type() {
    let registry = Registry::new().stage::<Counter>();
    let counter = registry.get("counter").unwrap();
    assert_eq!(counter.doc(), "Counts tokens. Sends the counts.");
    let names: Vec<_> = counter.keys().iter().map(|key| key.name).collect();
    assert_eq!(names, ["first", "count", "capacity"]);
    let ports = counter.ports(&settings(&[("capacity", 5.into())]));
    assert_eq!(
        (ports.inputs[0].name, ports.outputs[0].name, ports.outputs[0].capacity),
        ("input", "output", 5)
    );
    let context = CheckContext::new(&registry);
    assert_eq!(counter.check(&settings(&[("first", 13.into())]), &context)[0].0, "first");
    assert!(counter.check(&settings(&[]), &context).is_empty());
}

#[test]
fn ports_can_be_asked_for_with_settings_that_make_no_sense() {
    let counter = component::<Counter>();
    for wrong in [settings(&[]), settings(&[("capacity", "many".into())])] {
        assert_eq!(counter.ports(&wrong).outputs[0].capacity, 1);
    }
}

#[test]
fn a_transform_runs_with_its_configuration() {
    let mut graph = GraphBuilder::new();
    numbers(&mut graph);
    graph.typed::<Counter>("counter", Config { first: 50, count: Count::Twice, capacity: 2 });
    let collected = graph.collect("sink");
    graph.chain(&["numbers", "counter", "sink"], items(2));
    assert!(matches!(graph.run().status, Status::Done));
    assert_eq!(shown(&collected), "50 1 1 2 2 2 | 3 3 0 end");
}

#[test]
fn a_transform_that_cannot_be_made_fails_the_build() {
    let mut graph = GraphBuilder::new();
    numbers(&mut graph);
    let given = settings(&[("first", 14.into()), ("count", "once".into()), ("capacity", 1.into())]);
    graph.component("counter", component::<Counter>(), given);
    graph.collect("sink");
    graph.chain(&["numbers", "counter", "sink"], items(2));
    let error = graph.build(&RunOptions::default()).unwrap_err();
    assert!(error.to_string().contains("counter cannot begin with 14"), "{error}");
}

#[derive(Keys)]
struct Dropping {
    /// Tokens up to this one are dropped.
    #[key(default = 1)]
    up_to: u64,
}

/// Sends each token above `up_to` together with the sum of all tokens so far.
fn sums() -> impl Component {
    transform_fn(
        "sums",
        "Sends tokens and their sums.",
        InputPort::of::<Token>("input"),
        OutputPort::of::<Token>("output", 4),
        |config: Dropping| {
            let mut sum = 0;
            move |token: Token| {
                sum += token.value;
                if token.value > 90 {
                    return Err(Failure::data("a token is too large").into());
                }
                let kept = (token.value > config.up_to).then_some([token, Token::new(sum)]);
                Ok(kept.into_iter().flatten())
            }
        },
    )
}

#[test]
fn a_closure_is_a_stage_type() {
    let mut graph = GraphBuilder::new();
    numbers(&mut graph);
    graph.component("sums", sums(), settings(&[]));
    let collected = graph.collect("sink");
    graph.chain(&["numbers", "sums", "sink"], items(2));
    assert!(matches!(graph.run().status, Status::Done));
    // 1 is dropped, though it counts; the mark stands in its place.
    assert_eq!(shown(&collected), "2 3 | 3 6 end");
    let keys = sums().keys();
    assert_eq!((keys[0].name, keys[0].doc), ("up_to", "Tokens up to this one are dropped."));
}

#[test]
fn the_failure_of_a_closure_is_that_of_its_stage() {
    let mut graph = GraphBuilder::new();
    graph.counting_source("numbers", 100);
    graph.component("sums", sums(), settings(&[]));
    graph.collect("sink");
    graph.chain(&["numbers", "sums", "sink"], items(2));
    let Status::Failed(error) = graph.run().status else { panic!("token 91 is too large") };
    assert_eq!((&*error.stage, error.failure.to_string().as_str()), ("sums", "a token is too large"));
}

#[test]
#[should_panic(expected = "every stage builds")]
fn ports_of_other_payloads_than_the_closure_takes_do_not_build() {
    #[derive(Clone, PartialEq)]
    struct Other;

    impl Payload for Other {
        const NAME: &'static str = "others";

        fn byte_len(&self) -> usize {
            0
        }
    }

    let mut graph = GraphBuilder::new();
    graph.counting_source("numbers", 1);
    let input = InputPort::of::<Token>("input");
    let output = OutputPort::of::<Other>("output", 1);
    graph.component(
        "wrong",
        transform_fn("wrong", "Lies.", input, output, |()| |t: Token| Ok(Some(t))),
        settings(&[]),
    );
    graph.sink::<Other>("sink", |mut input| {
        while input.recv()? != Packet::End {}
        Ok(())
    });
    graph.chain(&["numbers", "wrong", "sink"], items(1));
    graph.run();
}
