//! A hop of a small item through a metered edge of a graph against one through a bare channel of crossbeam, between two
//! threads and along a chain of ten, measured in turns.
//!
//! `cargo bench --bench hop -- [--items N] [--runs N]` prints one JSON line for each length of the chain, with the median
//! nanoseconds of both for an item and a hop, and the median of the ratios of neighbours.

use std::error::Error;
use std::thread;
use std::time::Instant;

use crossbeam_channel::bounded;
use framewise_pipeline::engine::{RunOptions, Status};
use framewise_pipeline::testing::{GraphBuilder, Token, items};
use framewise_pipeline::{Input, Output, Packet};

/// The places of each edge and each channel.
const CAPACITY: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut count, mut runs) = (1_000_000, 7);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let value: u64 = arguments.next().ok_or_else(|| format!("{argument} needs a number"))?.parse()?;
        match argument.as_str() {
            "--items" => count = value,
            "--runs" => runs = value,
            other => return Err(format!("unknown argument `{other}`: --items N, --runs N").into()),
        }
    }
    for stages in [2, 10] {
        let (mut bare, mut graph, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        // The first round warms up.
        for round in 0..=runs {
            let one = channels(count, stages);
            let other = edges(count, stages)?;
            if round > 0 {
                bare.push(one);
                graph.push(other);
                ratios.push(other / one);
            }
        }
        let nanoseconds = |seconds: f64| seconds * 1e9 / count as f64 / (stages - 1) as f64;
        let line = serde_json::json!({
            "program": "framewise",
            "mode": "hop",
            "stages": stages,
            "threads": thread::available_parallelism().map_or(0, usize::from),
            "channel_nanoseconds": nanoseconds(median(bare)),
            "edge_nanoseconds": nanoseconds(median(graph)),
            "ratio": median(ratios),
        });
        println!("{line}");
    }
    Ok(())
}

/// The seconds for the items along a chain of threads that bare channels join.
fn channels(count: u64, stages: usize) -> f64 {
    let start = Instant::now();
    thread::scope(|scope| {
        let (first, mut last) = bounded::<Token>(CAPACITY);
        scope.spawn(move || (0..count).try_for_each(|value| first.send(Token::new(value))));
        for _ in 2..stages {
            let (sender, receiver) = bounded::<Token>(CAPACITY);
            let before = std::mem::replace(&mut last, receiver);
            scope.spawn(move || before.iter().try_for_each(|token| sender.send(token)));
        }
        assert_eq!(last.iter().count() as u64, count);
    });
    start.elapsed().as_secs_f64()
}

/// The seconds for the items along a graph of that many stages.
fn edges(count: u64, stages: usize) -> Result<f64, Box<dyn Error>> {
    let names: Vec<String> = (0..stages).map(|stage| format!("stage-{stage}")).collect();
    let mut graph = GraphBuilder::new();
    for (index, name) in names.iter().enumerate() {
        if index == 0 {
            graph.source(name, move |mut output: Output<Token>| {
                (0..count).try_for_each(|value| output.send(Token::new(value)))
            });
        } else if index + 1 < stages {
            graph.middle(name, |mut input: Input<Token>, mut output: Output<Token>| {
                while let Packet::Item(token) = input.recv()? {
                    output.send(token)?;
                }
                Ok(())
            });
        } else {
            graph.sink(name, |mut input: Input<Token>| {
                while input.recv()? != Packet::End {}
                Ok(())
            });
        }
    }
    graph.chain(&names.iter().map(String::as_str).collect::<Vec<_>>(), items(CAPACITY));
    let pipeline = graph.build(&RunOptions::default())?;
    let start = Instant::now();
    let outcome = pipeline.run();
    let seconds = start.elapsed().as_secs_f64();
    match outcome.status {
        Status::Done => Ok(seconds),
        other => Err(format!("the graph ended with {other:?}").into()),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
