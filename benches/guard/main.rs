//! Small amounts of the work of a run, for `benches/guard/run`, which counts the instructions of more and of less of it.
//!
//! `guard hop N` sends N items over an edge, `guard reader N` reads N records into batches, `guard f32 N` and `guard bf16 N`
//! make N training steps of a small model. Nothing is printed.

#[path = "../common/mod.rs"]
mod common;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use common::drop::Drop;
use framewise_pipeline::engine::{Pipeline, RunOptions, Status};
use framewise_pipeline::graph::load_str;
use framewise_pipeline::prelude::*;
use framewise_pipeline::testing::{GraphBuilder, Token, items};
use framewise_stages::model::{
    DeviceBatch, Dropout, Model, NextVlad, NextVladConfig, Precision, Weights, backward,
};
use framewise_stages::optim::{Adam, AdamConfig, Moments};

/// The records of the bundled file.
const RECORDS: u64 = 270;

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [what, count] = arguments.as_slice() else {
        return Err("arguments: hop, reader, f32 or bf16, and a number".into());
    };
    let count: u64 = count.parse()?;
    match what.as_str() {
        "hop" => hop(count),
        "reader" => reader(count),
        "f32" => Ok(steps(Precision::F32, count)?),
        "bf16" => Ok(steps(Precision::Bf16, count)?),
        other => Err(format!("unknown work `{other}`").into()),
    }
}

fn done(status: &Status) -> Result<(), Box<dyn Error>> {
    if matches!(status, Status::Done) {
        Ok(())
    } else {
        Err(format!("the graph ended with {status:?}").into())
    }
}

/// Sends items over an edge.
fn hop(count: u64) -> Result<(), Box<dyn Error>> {
    let mut graph = GraphBuilder::new();
    graph.source("source", move |mut output: Output<Token>| {
        (0..count).try_for_each(|value| output.send(Token::new(value)))
    });
    graph.sink("sink", |mut input: Input<Token>| {
        while input.recv()? != Packet::End {}
        Ok(())
    });
    graph.chain(&["source", "sink"], items(64));
    done(&graph.build(&RunOptions::default())?.run().status)
}

/// Reads the bundled records again and again, and makes batches of them. The number is rounded up to whole epochs.
fn reader(count: u64) -> Result<(), Box<dyn Error>> {
    let epochs = count.div_ceil(RECORDS);
    let text = format!(
        "[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = [\"train.tfrecord\"]\nepochs = {epochs}\n\
         [stages.decode]\ntype = \"yt8m_decode\"\nfrom = \"videos\"\nrgb_size = 12\naudio_size = 12\nmax_frames = 300\n\
         classes = 9\n\
         [stages.batch]\ntype = \"batch\"\nfrom = \"decode\"\nsize = 30\n\
         [stages.drop]\ntype = \"drop\"\nfrom = \"batch\"\n"
    );
    let registry = framewise_stages::registry().stage::<Drop>();
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/japanese_vowels/graph.toml");
    let graph = load_str(&place, &text, &registry, &[]).map_err(|errors| errors.render(false))?.graph;
    done(&Pipeline::build(&graph, &registry, &RunOptions::default())?.run().status)
}

/// Makes training steps of a small model, each in place.
fn steps(precision: Precision, count: u64) -> candle_core::Result<()> {
    let config = NextVladConfig {
        rgb_size: 64,
        audio_size: 32,
        classes: 50,
        clusters: 16,
        audio_clusters: 8,
        hidden: 64,
        ..NextVladConfig::paddle()
    };
    let mut model = NextVlad::new(config)?;
    model.precision = precision;
    let mut weights = Weights::initial(Arc::new(model.clone()), 0, &Device::Cpu, DType::F32)?;
    let (mut moments, mut bounds) = (Moments::zeros(&weights)?, None);
    let adam = Adam::new(AdamConfig::default());
    let lengths = vec![20; 8];
    let rows = |size: usize| {
        let bytes: Vec<u8> = (0..160 * size).map(|i| (i * 73 % 251) as u8).collect();
        Tensor::from_vec(bytes, (160, size), &Device::Cpu)
    };
    let batch = DeviceBatch { rgb: rows(64)?, audio: rows(32)?, lengths };
    let labels: Vec<f32> = (0..8 * 50).map(|i| if i % 17 == 0 { 1.0 } else { 0.0 }).collect();
    let labels = Tensor::from_vec(labels, (8, 50), &Device::Cpu)?;
    for step in 0..count {
        let forward = model.forward_train(&weights, &batch, &Dropout::Seeded { seed: 1, step, shard: 0 })?;
        let loss = model.loss(&forward.logits, &labels)?.mean_all()?;
        let gradients = backward(&loss, &weights)?;
        let buffers = model.fold_moments(&weights, &[&forward.moments])?;
        let next = adam.update_in_place(&weights, &moments, &gradients.tensors, 2e-4, &mut bounds)?;
        moments = next.ok_or_else(|| candle_core::Error::msg("numbers of the step may not be finite"))?;
        weights.buffers = buffers;
    }
    Ok(())
}
