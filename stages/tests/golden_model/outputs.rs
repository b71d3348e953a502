//! Outputs, intermediate values, loss, gradients and new buffers of one step, by every way to compute them.

use std::cell::Cell;

use candle_core::{DType, Tensor};
use framewise_stages::model::{Dropout, DropoutMode, Kernels, Model, backward};

use crate::support::{Golden, KERNELS, assert_near, lengths, model, pack};

/// A float32 run may lie this many times farther from the float64 values than the reference's own float32 run.
const FACTOR: f64 = 4.0;

struct Case {
    golden: Golden,
    kernels: Kernels,
    dtype: DType,
    /// Prefix of the golden names of this dropout mode, and the mode.
    prefix: &'static str,
    mode: DropoutMode,
}

impl Case {
    fn tolerance(&self, name: &str, expected: &Tensor) -> f64 {
        let largest = crate::support::values(expected).into_iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        match self.dtype {
            DType::F64 => 1e-9 * largest.max(1.0),
            // One unit in the last place on top: a loss of 11.8 has no float32 within 1.7e-7, the reference's distance.
            _ => FACTOR * self.golden.float32_distance(name) + largest * f64::from(f32::EPSILON),
        }
    }

    fn compare(&self, name: &str, found: &Tensor) {
        let expected = self.golden.tensor(&format!("{}{name}", self.prefix));
        let found = found.reshape(expected.shape()).unwrap();
        let label = format!("{}{name} {:?} {:?}", self.prefix, self.kernels, self.dtype);
        assert_near(&label, &found, expected, self.tolerance(name, expected));
    }

    fn run(&self) {
        let golden = &self.golden;
        let mut config = golden.config();
        config.dropout = self.mode;
        let model = model(config, self.kernels);
        let weights = golden.weights(&model, "param", "buffer", self.dtype);
        let lengths = lengths(golden.tensor("input.lengths"));
        let batch = pack(golden.tensor("input.rgb"), golden.tensor("input.audio"), &lengths);
        let labels = golden.tensor("input.labels");
        // The upscaling mode has fewer golden values: outputs and gradients.
        let full = self.prefix.is_empty();

        let seen = Cell::new(0);
        let trace = |part: &'static str| {
            let seen = &seen;
            move |name: &str, value: &Tensor| {
                seen.set(seen.get() + 1);
                if full {
                    self.compare(&format!("{part}.{name}"), value);
                }
            }
        };
        let logits = model.trace_eval(&weights, &batch, &mut trace("eval")).unwrap();
        let dropout = match golden.tensors.get("input.drop_keep_mask") {
            Some(mask) => Dropout::Mask(mask.clone()),
            None => Dropout::Off,
        };
        let forward = model.trace_train(&weights, &batch, &dropout, &mut trace("train")).unwrap();
        assert_eq!(seen.get(), 14, "intermediate values");
        self.compare("eval.logits", &logits);
        self.compare("train.logits", &forward.logits);
        let mean_loss = |logits: &Tensor| model.loss(logits, labels).unwrap().mean_all().unwrap();
        let loss = mean_loss(&forward.logits);
        self.compare("train.loss", &loss);
        if full {
            self.compare("eval.loss", &mean_loss(&logits));
            self.compare("eval.probs", &candle_nn::ops::sigmoid(&logits).unwrap());
        }

        let gradients = backward(&loss, &weights).unwrap();
        for (spec, gradient) in model.parameters().iter().zip(&gradients.tensors) {
            if self.dtype == DType::F64 || !spec.name.ends_with("vlad_norm.bias") {
                self.compare(&format!("grad.{}", spec.name), gradient);
            }
        }
        if full {
            let norm: f64 = gradients.tensors.iter().flat_map(crate::support::values).map(|g| g * g).sum();
            let norm = Tensor::new(&[norm.sqrt()], &candle_core::Device::Cpu).unwrap();
            self.compare("train.grad_norm", &norm);
            let buffers = model.fold_moments(&weights, &[&forward.moments]).unwrap();
            for (spec, buffer) in model.buffers().iter().zip(&buffers) {
                if spec.name == "input.rgb_scale" {
                    assert_near("rgb_scale", buffer, golden.tensor("input.rgb_scale"), 0.0);
                } else {
                    self.compare(&format!("new_buffer.{}", spec.name), buffer);
                }
            }
        }
    }
}

fn run(name: &str, prefix: &'static str, mode: DropoutMode) {
    for dtype in [DType::F64, DType::F32] {
        for kernels in KERNELS {
            Case { golden: Golden::load(name), kernels, dtype, prefix, mode }.run();
        }
    }
}

#[test]
fn small() {
    run("small", "", DropoutMode::DownscaleInEval);
}

#[test]
fn small_with_half_the_audio_clusters_and_groups() {
    run("small_tfdims", "", DropoutMode::DownscaleInEval);
}

#[test]
fn small_with_dropout_scaled_in_evaluation() {
    run("small_drop", "", DropoutMode::DownscaleInEval);
}

#[test]
fn small_with_dropout_scaled_in_training() {
    run("small_drop", "upscale_in_train.", DropoutMode::UpscaleInTrain);
}
