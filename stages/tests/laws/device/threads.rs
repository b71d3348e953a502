//! Law: a tensor may be made on one thread, used on a second and freed on a third, as the stages of a training do. The
//! bits are those of one thread.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use candle_core::{DType, Device, Tensor};
use framewise_stages::model::{DeviceBatch, Dropout, Gradients, Kernels, Model, NextVlad, Weights, backward};
use framewise_stages::optim::{Adam, AdamConfig, Moments};

use crate::device::device;
use crate::model::support::{made_up, middle, model, stirred, values};

const STEPS: usize = 12;

/// The lengths of the videos of one step. They differ from step to step.
fn videos(step: usize) -> Vec<usize> {
    (0..9).map(|video| 1 + (video * 17 + step * 5) % 60).collect()
}

/// A batch and its labels, which went through the memory of the host.
fn made(model: &NextVlad, step: usize) -> (DeviceBatch, Tensor) {
    let (batch, labels) = made_up(model, &videos(step));
    let there = |tensor: &Tensor| tensor.to_device(&Device::Cpu).unwrap().to_device(&device()).unwrap();
    let (rgb, audio) = (there(&batch.rgb), there(&batch.audio));
    (DeviceBatch { rgb, audio, lengths: batch.lengths }, there(&labels))
}

/// The loss of one step, with its tape.
fn loss(model: &NextVlad, weights: &Weights, (batch, labels): &(DeviceBatch, Tensor), step: usize) -> Tensor {
    let dropout = Dropout::Seeded { seed: 3, step: step as u64, shard: 0 };
    let forward = model.forward_train(weights, batch, &dropout).unwrap();
    model.loss(&forward.logits, labels).unwrap().mean_all().unwrap()
}

/// The bits of the weights after an update with the gradients of one step.
fn updated(weights: &Weights, gradients: &Gradients) -> Vec<u64> {
    let adam = Adam::new(AdamConfig::default());
    let moments = Moments::zeros(weights).unwrap();
    let next = adam.update(weights, &moments, gradients, 1e-3, None).unwrap().weights;
    next.parameters.iter().flat_map(|parameter| values(parameter)).map(f64::to_bits).collect()
}

#[test]
fn what_one_thread_made_others_use_and_free() {
    let model = model(middle(), Kernels::Auto);
    let weights = Arc::new(stirred(&model, DType::F32));
    let alone: Vec<Vec<u64>> = (0..STEPS)
        .map(|step| {
            let loss = loss(&model, &weights, &made(&model, step), step);
            updated(&weights, &backward(&loss, &weights).unwrap())
        })
        .collect();
    assert!(alone.windows(2).all(|steps| steps[0] != steps[1]), "the steps differ");

    let (to_forward, batches) = sync_channel(2);
    let (to_backward, losses) = sync_channel(2);
    let (to_update, gradients) = sync_channel(2);
    let (to_free, freed) = sync_channel::<Gradients>(2);
    let found: Vec<Vec<u64>> = thread::scope(|scope| {
        scope.spawn(|| {
            let to_forward = to_forward;
            (0..STEPS).for_each(|step| to_forward.send((step, made(&model, step))).unwrap());
        });
        scope.spawn(|| {
            let to_backward = to_backward;
            for (step, batch) in batches {
                to_backward.send(loss(&model, &weights, &batch, step)).unwrap();
            }
        });
        scope.spawn(|| {
            let to_update = to_update;
            for loss in losses {
                to_update.send(backward(&loss, &weights).unwrap()).unwrap();
            }
        });
        scope.spawn(|| freed.into_iter().for_each(drop));
        let found = gradients.into_iter().map(|gradients| {
            let bits = updated(&weights, &gradients);
            to_free.send(gradients).unwrap();
            bits
        });
        let found = found.collect();
        drop(to_free);
        found
    });
    assert!(found == alone, "the bits differ from those of one thread");
}
