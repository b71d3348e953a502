//! Tests of the outputs, intermediate values, loss, gradients and new buffers of one step, by every way to compute
//! them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};
use framewise_stages::model::{Dropout, DropoutMode, Kernels, Model, backward};

use crate::device::device;
use crate::model::support::{Golden, KERNELS, assert_near, lengths, model, pack, values};

/// A float32 run may lie this many times farther from the float64 values than the reference's own float32 run.
const FACTOR: f64 = 4.0;

struct Case {
    golden: Golden,
    kernels: Kernels,
    dtype: DType,
    /// The prefix of the golden names for this dropout mode, and the mode.
    prefix: &'static str,
    mode: DropoutMode,
    /// The golden tensors that were compared.
    compared: RefCell<BTreeSet<String>>,
}

impl Case {
    fn tolerance(&self, name: &str, expected: &Tensor) -> f64 {
        let largest = values(expected).into_iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        match self.dtype {
            DType::F64 => 1e-9 * largest.max(1.0),
            // One unit in the last place comes on top, because a loss of 11.8 has no float32 within 1.7e-7, the
            // reference's distance.
            _ => FACTOR * self.golden.float32_distance(name) + largest * f64::from(f32::EPSILON),
        }
    }

    fn compare(&self, name: &str, found: &Tensor) {
        let full_name = format!("{}{name}", self.prefix);
        let expected = self.golden.tensor(&full_name);
        self.compared.borrow_mut().insert(full_name);
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
        let labels = &golden.tensor("input.labels").to_device(&device()).unwrap();
        // The upscaling mode has fewer golden values: only outputs and gradients.
        let full = self.prefix.is_empty();

        let trace = |part: &'static str| {
            move |name: &str, value: &Tensor| match name.strip_suffix(".features") {
                Some(side) => self.compare_features(side, value),
                None if full => self.compare(&format!("{part}.{name}"), value),
                None => {}
            }
        };
        let logits = model.trace_eval(&weights, &batch, &mut trace("eval")).unwrap();
        let dropout = match golden.tensors.get("input.drop_keep_mask") {
            Some(mask) => Dropout::Mask(mask.clone()),
            None => Dropout::Off,
        };
        let forward = model.trace_train(&weights, &batch, &dropout, &mut trace("train")).unwrap();
        self.compare("eval.logits", &logits);
        self.compare("train.logits", &forward.logits);
        let mean_loss = |logits: &Tensor| model.loss(logits, labels).unwrap().mean_all().unwrap();
        let loss = mean_loss(&forward.logits);
        self.compare("train.loss", &loss);
        if full {
            self.compare("eval.loss", &mean_loss(&logits));
            self.compare("eval.probs", &candle_nn::ops::sigmoid(&logits).unwrap());
            self.compare("train.probs", &candle_nn::ops::sigmoid(&forward.logits).unwrap());
        }

        let gradients = backward(&loss, &weights).unwrap();
        for (spec, gradient) in model.parameters().iter().zip(&gradients.tensors) {
            if self.dtype == DType::F64 || !spec.name.ends_with("vlad_norm.bias") {
                self.compare(&format!("grad.{}", spec.name), gradient);
            }
        }
        if full {
            let norm: f64 = gradients.tensors.iter().flat_map(values).map(|g| g * g).sum();
            let norm = Tensor::new(&[norm.sqrt()], &Device::Cpu).unwrap();
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
        self.assert_all_compared(full);
    }

    /// Compares the dequantised features, which stand in the golden file once for both dropout modes.
    fn compare_features(&self, side: &str, found: &Tensor) {
        let name = format!("deq.{side}");
        let expected = self.golden.tensor(&name);
        let tolerance = self.tolerance(&name, expected);
        assert_near(&format!("{name} {:?} {:?}", self.kernels, self.dtype), found, expected, tolerance);
        self.compared.borrow_mut().insert(name);
    }

    /// Asserts that every tensor of the golden file that is a result was compared, except for the round-off of a
    /// gradient that is zero.
    fn assert_all_compared(&self, full: bool) {
        let compared = self.compared.borrow();
        let mut left: Vec<&String> = self
            .golden
            .tensors
            .keys()
            .filter(|name| !["input.", "param.", "buffer."].iter().any(|given| name.starts_with(given)))
            .filter(|name| name.starts_with("upscale_in_train.") != full)
            .filter(|name| !(self.dtype == DType::F32 && name.ends_with("vlad_norm.bias")))
            .filter(|name| full || !name.starts_with("deq."))
            .filter(|name| !compared.contains(*name))
            .collect();
        left.sort();
        assert!(left.is_empty(), "never compared: {left:?}");
        assert!(compared.len() > 30, "{} compared", compared.len());
    }
}

fn run(name: &str, prefix: &'static str, mode: DropoutMode) {
    for dtype in [DType::F64, DType::F32] {
        for kernels in KERNELS {
            let compared = RefCell::default();
            Case { golden: Golden::load(name), kernels, dtype, prefix, mode, compared }.run();
        }
    }
}

#[test]
fn input_factors_are_those_of_the_eigenvalues() {
    for name in ["small", "small_drop", "small_tfdims", "trajectory"] {
        let golden = Golden::load(name);
        let factors: Vec<f64> =
            values(golden.tensor("input.eigenvals")).into_iter().map(|e| e.sqrt() + 1e-4).collect();
        let factors = Tensor::from_vec(factors, golden.tensor("input.rgb_scale").shape(), &Device::Cpu);
        assert_near(name, golden.tensor("input.rgb_scale"), &factors.unwrap(), 1e-7);
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
