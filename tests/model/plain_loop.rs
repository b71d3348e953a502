//! Law: the pipeline equals a plain loop over the same model, bit for bit.
//!
//! The loop below is the whole training of graphs/quickstart.toml on one screen: no stage, no channel, no thread.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use framewise_stages::model::{
    DeviceBatch, Dropout, Gradients, Model, NextVlad, NextVladConfig, Weights, backward,
};
use framewise_stages::optim::{Adam, AdamConfig, Moments, Updated, reduce};
use framewise_stages::payload::Example;
use framewise_stages::random;

use crate::support::run::{run_named, vowels};

const SEED: u64 = 5;
const EPOCHS: u64 = 2;
const BATCH: usize = 32;
const SHARDS: usize = 2;
const BUFFER: usize = 100;

/// The order of an epoch: for each video that comes, a random one leaves a buffer of `BUFFER` videos.
fn shuffled(videos: &[Example], epoch: u64) -> Vec<Example> {
    let mut rng = random::stream(SEED, "shuffle", &[epoch]);
    let (mut buffer, mut order) = (Vec::new(), Vec::new());
    for video in videos {
        if buffer.len() == BUFFER {
            let place = random::below(&mut rng, BUFFER as u64) as usize;
            order.push(std::mem::replace(&mut buffer[place], video.clone()));
        } else {
            buffer.push(video.clone());
        }
    }
    while !buffer.is_empty() {
        let place = random::below(&mut rng, buffer.len() as u64) as usize;
        order.push(buffer.swap_remove(place));
    }
    order
}

fn shard_gradients(
    weights: &Weights,
    videos: &[Example],
    step: u64,
    shard: u64,
) -> (Gradients, Vec<f32>, Moment) {
    let frames: usize = videos.iter().map(|v| v.frames).sum();
    let rows = |data: Vec<u8>| Tensor::from_vec(data, (frames, 12), &Device::Cpu).unwrap();
    let batch = DeviceBatch {
        rgb: rows(videos.iter().flat_map(|v| v.rgb.to_vec()).collect()),
        audio: rows(videos.iter().flat_map(|v| v.audio.to_vec()).collect()),
        lengths: videos.iter().map(|v| v.frames).collect(),
    };
    let mut labels = vec![0f32; videos.len() * 9];
    for (i, video) in videos.iter().enumerate() {
        video.labels.iter().for_each(|label| labels[i * 9 + *label as usize] = 1.0);
    }
    let labels = Tensor::from_vec(labels, (videos.len(), 9), &Device::Cpu).unwrap();
    let dropout = Dropout::Seeded { seed: SEED, step, shard };
    let forward = weights.model.forward_train(weights, &batch, &dropout).unwrap();
    let losses = weights.model.loss(&forward.logits, &labels).unwrap();
    let gradients = backward(&losses.mean_all().unwrap(), weights).unwrap();
    (gradients, losses.to_vec1().unwrap(), forward.moments)
}

type Moment = framewise_stages::model::BatchMoments;

#[test]
fn the_pipeline_equals_the_plain_loop_bit_for_bit() {
    let small = NextVladConfig {
        rgb_size: 12,
        audio_size: 12,
        classes: 9,
        clusters: 8,
        audio_clusters: 8,
        groups: 4,
        audio_groups: 4,
        hidden: 64,
        gating_reduction: 4,
        ..NextVladConfig::paddle()
    };
    let model: Arc<dyn Model> = Arc::new(NextVlad::new(small).unwrap());
    let l2_parameters = vec!["classifier.weight".to_owned(), "classifier.bias".to_owned()];
    let adam = Adam::new(AdamConfig { l2: 1e-5, l2_parameters, ..AdamConfig::default() });
    let mut weights = Weights::initial(model.clone(), SEED, &Device::Cpu, DType::F32).unwrap();
    let mut moments = Moments::zeros(&weights).unwrap();
    let (videos, mut step) = (vowels("train"), 0);
    for epoch in 0..EPOCHS {
        for batch in shuffled(&videos, epoch).chunks(BATCH) {
            // There are two contiguous shards, of which the first is the larger.
            let (first, second) = batch.split_at(batch.len().div_ceil(SHARDS));
            let parts = [first, second].map(|videos| videos.to_vec());
            let shards: Vec<_> =
                parts.iter().zip(0..).map(|(v, shard)| shard_gradients(&weights, v, step, shard)).collect();
            let weighted: Vec<_> = shards.iter().zip(&parts).map(|((g, _, _), v)| (g, v.len())).collect();
            let gradients = reduce(&weighted).unwrap();
            let Updated { weights: mut next, moments: next_moments, .. } =
                adam.update(&weights, &moments, &gradients, 2e-3, None).unwrap();
            next.buffers =
                model.fold_moments(&weights, &shards.iter().map(|s| &s.2).collect::<Vec<_>>()).unwrap();
            (weights, moments) = (next, next_moments);
            step += 1;
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let mut overrides = vec![
        format!("graph.seed={SEED}"),
        format!("stages.videos.epochs={EPOCHS}"),
        format!("stages.shuffle.buffer={BUFFER}"),
        format!("stages.batch.size={BATCH}"),
        "stages.batch.drop_last=false".to_owned(),
        format!("stages.shard.shards={SHARDS}"),
    ];
    let devices = |stage| format!(r#"stages.{stage}.devices=["cpu", "cpu"]"#);
    overrides.extend(["forward", "all_reduce", "optimizer"].map(devices));
    let outcome = run_named("quickstart.toml", &overrides, dir.path());
    assert_eq!(outcome.results["steps"], step as f64);
    assert_eq!(step, 2 * 9);
    let checkpoint = framewise_stages::store::load(dir.path()).unwrap();
    let mut expected = weights.named_tensors();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(checkpoint.weights.len(), expected.len());
    for ((name, ours), (plain_name, plain)) in checkpoint.weights.iter().zip(&expected) {
        assert_eq!(name, plain_name);
        assert_eq!(bits(ours), bits(plain), "{name}");
    }
    let first = checkpoint.moments.iter().find(|(name, _)| name == "second.hidden.weight").unwrap();
    let index = model.parameters().iter().position(|p| p.name == "hidden.weight").unwrap();
    assert_eq!(bits(&first.1), bits(&moments.second[index]));
    assert_eq!(checkpoint.updates, moments.updates);
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}
