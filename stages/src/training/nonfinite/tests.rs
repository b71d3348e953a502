//! Faults put into a step one after another, from the end of the computation to its beginning: each must be named
//! although the later ones are still there.

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use super::*;
use crate::collective::Sliced;
use crate::model::{Gradients, Model, NextVlad, NextVladConfig, backward};
use crate::optim::{Adam, AdamConfig, Moments, Updated};
use crate::payload::{EpochProgress, Features};

const SEED: u64 = 3;

fn weights() -> Weights {
    let config = NextVladConfig {
        rgb_size: 4,
        audio_size: 4,
        classes: 3,
        clusters: 2,
        audio_clusters: 2,
        groups: 2,
        audio_groups: 2,
        hidden: 4,
        gating_reduction: 2,
        ..NextVladConfig::paddle()
    };
    let model: Arc<dyn Model> = Arc::new(NextVlad::new(config).unwrap());
    Weights::initial(model, 1, &Device::Cpu, DType::F32).unwrap()
}

fn batch(first: u8) -> Arc<Batch> {
    let bytes = |factor: u8| (0..24).map(|i| (i * factor).wrapping_add(first)).collect();
    Arc::new(Batch {
        ids: (0..3).map(|i| format!("v{first}{i}")).collect(),
        labels: vec![vec![0], vec![], vec![1, 2]],
        features: Features::Frames { lengths: vec![3, 1, 2], rgb: bytes(11), audio: bytes(7) },
    })
}

/// Step 4 of two shards, and what an update makes of it.
fn step(weights: &Weights) -> (Update, (Weights, Moments)) {
    let batches = vec![batch(1), batch(90)];
    let (mut losses, mut shards, mut moments) = (Vec::new(), Vec::new(), Vec::new());
    for (shard, batch) in batches.iter().enumerate() {
        let frames = to_device(batch, &Device::Cpu).unwrap();
        let dropout = Dropout::Seeded { seed: SEED, step: 4, shard: shard as u64 };
        let forward = weights.model.forward_train(weights, &frames, &dropout).unwrap();
        let labels = dense_labels(batch, 3, &Device::Cpu).unwrap();
        let loss = weights.model.loss(&forward.logits, &labels).unwrap().mean_all().unwrap();
        shards.push(backward(&loss, weights).unwrap());
        losses.push(loss.detach());
        moments.push(Arc::new(forward.moments));
    }
    let parts: Vec<(&Gradients, usize)> = shards.iter().map(|g| (g, 3)).collect();
    let gradients = crate::optim::reduce(&parts).unwrap();
    let adam = Adam::new(AdamConfig::default());
    let zeros = Moments::zeros(weights).unwrap();
    let Updated { weights: next, moments: next_moments, .. } =
        adam.update(weights, &zeros, &gradients, 1e-3, None).unwrap();
    let (progress, gradients) = (EpochProgress::default(), Arc::new(Sliced::whole(gradients.tensors)));
    (
        Update { step: 4, epoch: 1, progress, gradients, moments, videos: 6, batches, losses, part: None },
        (next, next_moments),
    )
}

fn poisoned(tensor: &Tensor, place: usize, value: f64) -> Tensor {
    let mut values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values[place] = value as f32;
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap()
}

fn place_of(weights: &Weights, name: &str) -> usize {
    weights.model.parameters().iter().position(|p| p.name == name).unwrap()
}

/// Puts a value into a parameter, or a buffer.
fn poison(weights: &mut Weights, name: &str, place: usize, value: f64) {
    if let Some(index) = weights.model.buffers().iter().position(|b| b.name == name) {
        weights.buffers[index] = poisoned(&weights.buffers[index], place, value);
        return;
    }
    let index = place_of(weights, name);
    let tensor = poisoned(weights.parameters[index].as_tensor(), place, value);
    weights.parameters[index] = Var::from_tensor(&tensor).unwrap();
}

#[test]
fn the_first_culprit_is_named_whatever_follows_from_it() {
    let mut weights = weights();
    let (mut update, (mut next, mut moments)) = step(&weights);
    let find = |weights: &Weights, update: &Update, next: &Weights, moments: &Moments| {
        let moments = DividedMoments::whole(moments.clone());
        let found = first(weights, update, SEED, Some((next, &moments))).unwrap();
        let kind = failure(5, update, found.as_ref()).kind;
        (found.map(|c| c.to_string()).unwrap_or_default(), kind)
    };
    let expect = |found: (String, ErrorKind), text: &str, kind: ErrorKind| {
        assert!(found.0.starts_with(text), "{} in place of {text}", found.0);
        assert_eq!(found.1, kind, "{}", found.0);
    };
    assert_eq!(find(&weights, &update, &next, &moments).0, "", "all is finite");

    poison(&mut next, "gate2.weight", 1, f64::INFINITY);
    let found = find(&weights, &update, &next, &moments);
    expect(
        found,
        "`updated gate2.weight` of optimizer (1 of 8 numbers, the first inf at [0, 1])",
        ErrorKind::Config,
    );

    let index = place_of(&weights, "hidden.weight");
    moments.second[index] = poisoned(&moments.second[index], 0, f64::INFINITY);
    let found = find(&weights, &update, &next, &moments);
    expect(found, "`second moment of hidden.weight` of optimizer (1 of ", ErrorKind::Config);

    let mut gradients = (*update.gradients).clone();
    for name in ["classifier.bias", "audio.expand.bias", "hidden.weight"] {
        let index = place_of(&weights, name);
        gradients.slices[0][index] = poisoned(&gradients.slices[0][index], 2, f64::NAN);
    }
    update.gradients = Arc::new(gradients);
    let found = find(&weights, &update, &next, &moments);
    expect(
        found,
        "`gradient of audio.expand.bias` of backward (1 of 8 numbers, the first NaN at [2])",
        ErrorKind::Config,
    );

    // A mean that is infinite although no video's loss is.
    update.losses[1] = Tensor::new(f32::INFINITY, &Device::Cpu).unwrap();
    let found = find(&weights, &update, &next, &moments);
    expect(found, "`mean loss` of loss in shard 1 (inf)", ErrorKind::Config);

    // Logits of 3e38 are finite, their sum over classes is not. The first video has label 0, which costs it nothing.
    for class in 0..3 {
        poison(&mut weights, "classifier.bias", class, 3e38);
    }
    let found = find(&weights, &update, &next, &moments);
    let text =
        "`losses of the videos` of loss in shard 0 (2 of 3 numbers, the first inf at [0], video \"v10\")";
    expect(found, text, ErrorKind::Config);

    for place in 0..4 {
        poison(&mut weights, "classifier.weight", place, 3e38);
        poison(&mut weights, "classifier.weight", 4 + place, -3e38);
    }
    poison(&mut weights, "hidden_norm.weight", 0, 1e6);
    poison(&mut weights, "hidden_norm.weight", 3, 1e6);
    let found = find(&weights, &update, &next, &moments);
    expect(found, "`logits` of nextvlad_forward in shard 0 (", ErrorKind::Config);

    poison(&mut weights, "gate1.weight", 0, 1e30);
    let found = find(&weights, &update, &next, &moments);
    expect(
        found,
        "`gate1_norm.batch_variance` of nextvlad_forward in shard 0 (1 of 2 numbers, the first inf at [0])",
        ErrorKind::Config,
    );

    poison(&mut weights, "audio.vlad_norm.weight", 0, 3e38);
    let found = find(&weights, &update, &next, &moments);
    expect(found, "`audio.vlad_norm` of nextvlad_forward in shard 0 (", ErrorKind::Config);

    poison(&mut weights, "rgb.expand.weight", 0, 1e30);
    let found = find(&weights, &update, &next, &moments);
    expect(found, "`rgb.assign_norm.batch_variance` of nextvlad_forward in shard 0 (", ErrorKind::Config);

    poison(&mut weights, "input.rgb_scale", 2, 3e38);
    let found = find(&weights, &update, &next, &moments);
    expect(found, "`rgb.features` of nextvlad_forward in shard 0 (", ErrorKind::Data);

    poison(&mut weights, "gate1_norm.running_var", 1, f64::NAN);
    let found = find(&weights, &update, &next, &moments);
    expect(
        found,
        "`gate1_norm.running_var` of optimizer (1 of 2 numbers, the first NaN at [1])",
        ErrorKind::Data,
    );

    poison(&mut weights, "classifier.bias", 1, f64::NEG_INFINITY);
    let found = find(&weights, &update, &next, &moments);
    expect(found, "`classifier.bias` of optimizer (1 of 3 numbers, the first -inf at [1])", ErrorKind::Data);

    poison(&mut weights, "rgb.centers", 3, f64::NAN);
    let found = find(&weights, &update, &next, &moments);
    expect(found, "`rgb.centers` of optimizer (1 of 8 numbers, the first NaN at [0, 3])", ErrorKind::Data);
}

#[test]
fn a_fault_of_one_shard_is_found_in_that_shard() {
    let mut weights = weights();
    let (mut update, _) = step(&weights);
    let mut batch = (*update.batches[0]).clone();
    // 127.5 stands for zero: these features are finite, though not their variance. Those of the other shard are not.
    let Features::Frames { rgb, .. } = &mut batch.features else { unreachable!("made so above") };
    rgb.chunks_mut(4).zip([127, 128].into_iter().cycle()).for_each(|(row, byte)| row.fill(byte));
    update.batches[0] = Arc::new(batch);
    for place in 0..4 {
        poison(&mut weights, "input.rgb_scale", place, 1e38);
    }
    let culprit = first(&weights, &update, SEED, None).unwrap().unwrap();
    assert_eq!(culprit.shard, Some(0), "{culprit}");
    assert_eq!(culprit.tensor, "rgb.assign_norm.batch_variance", "{culprit}");
    update.batches.swap(0, 1);
    let culprit = first(&weights, &update, SEED, None).unwrap().unwrap();
    assert_eq!((culprit.shard, culprit.tensor.as_str()), (Some(0), "rgb.features"), "{culprit}");
}

#[test]
fn the_text_names_step_videos_and_tensor() {
    let mut weights = weights();
    let (update, _) = step(&weights);
    poison(&mut weights, "hidden.weight", 0, f64::NAN);
    let culprit = first(&weights, &update, SEED, None).unwrap();
    let text = failure(5, &update, culprit.as_ref()).to_string();
    let columns = weights.parameters[place_of(&weights, "hidden.weight")].dims()[1] * 4;
    assert_eq!(
        text,
        format!(
            "step 5 (epoch 2) has numbers that are not finite, first `hidden.weight` of optimizer (1 of {columns} numbers, \
             the first NaN at [0, 0]); its videos: v10, v11, v12, v900, v901, v902"
        )
    );
    let text = describe(5, &update, None);
    assert!(text.contains("did not come back when the step was computed once more"), "{text}");
}
