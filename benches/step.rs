//! One full-size NeXtVLAD training step on the CPU, in f32 and in bf16, measured in turns.
//!
//! `cargo bench --bench step -- [--batch N] [--frames LOW HIGH] [--runs N] [--only f32|bf16]` prints one JSON line for
//! each precision: the median time of a step, the time of the first one, and the peak memory of the process. With both
//! precisions, the peak is that of both together; `--only` measures one.

mod common;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use common::{Options, Summary};
use framewise_stages::model::{DeviceBatch, Dropout, Model, NextVlad, NextVladConfig, Weights, backward};
use framewise_stages::optim::{Adam, AdamConfig, Bounds, Moments};

/// A model in one precision, with its state between steps.
struct Training {
    model: NextVlad,
    weights: Weights,
    moments: Moments,
    bounds: Option<Bounds>,
}

fn main() -> candle_core::Result<()> {
    let options = Options::parse();
    let (batch, labels) = common::batch(&options)?;
    let adam = Adam::new(AdamConfig { l2: 0.0, ..AdamConfig::default() });
    let mut all = Vec::new();
    for precision in options.precisions().into_iter().filter(|precision| precision.trains()) {
        let mut model = NextVlad::new(NextVladConfig::paddle())?;
        model.precision = precision;
        let weights = Weights::initial(Arc::new(model.clone()), 0, &Device::Cpu, DType::F32)?;
        let moments = Moments::zeros(&weights)?;
        all.push((precision, Training { model, weights, moments, bounds: None }, Summary::default()));
    }
    for run in 0..=options.runs {
        for (_, training, summary) in &mut all {
            let dropout = Dropout::Seeded { seed: 1, step: run as u64, shard: 0 };
            summary.time(|| training.step(&adam, &batch, &labels, &dropout))?;
        }
    }
    for (precision, _, summary) in &all {
        summary.print("train", &options, *precision);
    }
    Ok(())
}

impl Training {
    /// Makes the next version over the last one, as the stages do where nobody else holds that.
    fn step(
        &mut self,
        adam: &Adam,
        batch: &DeviceBatch,
        labels: &Tensor,
        dropout: &Dropout,
    ) -> candle_core::Result<()> {
        let forward = self.model.forward_train(&self.weights, batch, dropout)?;
        let loss = self.model.loss(&forward.logits, labels)?.mean_all()?;
        let gradients = backward(&loss, &self.weights)?;
        drop((loss, forward.logits));
        let buffers = self.model.fold_moments(&self.weights, &[&forward.moments])?;
        let next =
            adam.update_in_place(&self.weights, &self.moments, &gradients.tensors, 2e-4, &mut self.bounds)?;
        self.moments =
            next.ok_or_else(|| candle_core::Error::msg("numbers of the step may not be finite"))?;
        self.weights.buffers = buffers;
        Ok(())
    }
}
