//! Tests of NeXtVLAD with products of bf16 operands, against float64.
//!
//! How far a rounding carries depends on the model: a batch norm over few videos makes small differences large. The
//! yardstick is therefore a run in float64 whose weights alone were rounded to bf16. In bf16, the values on the way and the
//! gradients are rounded too, so a result may lie [`FACTOR`] times as far from the exact one.

use candle_core::{DType, Tensor, Var};
use framewise_stages::model::{
    Dropout, DropoutMode, Gradients, Kernels, L2Norm, Model, NextVlad, NextVladConfig, Precision, Weights,
    backward,
};

use crate::model::support::{made_up, middle, model, share, stirred, tiny, values};

/// How many times as far from float64 as the yardstick a result may lie.
const FACTOR: f64 = 6.0;

/// The allowed distance of the logits of an evaluation, as a share of their length: eight times the largest rounding.
const LOGITS: f64 = 1.0 / 64.0;

struct Step {
    logits: Tensor,
    evaluated: Tensor,
    gradients: Gradients,
}

fn step(config: &NextVladConfig, kernels: Kernels, precision: Precision, dtype: DType) -> Step {
    let mut model = model(config.clone(), kernels);
    model.precision = precision;
    let weights = stirred(&model, dtype);
    step_of(&model, &weights)
}

/// A step in float64 with weights that are rounded to bf16.
fn yardstick(config: &NextVladConfig) -> Step {
    let model = model(config.clone(), Kernels::Plain);
    let mut weights = stirred(&model, DType::F64);
    for parameter in &mut weights.parameters {
        let rounded =
            parameter.as_detached_tensor().to_dtype(DType::BF16).unwrap().to_dtype(DType::F64).unwrap();
        *parameter = Var::from_tensor(&rounded).unwrap();
    }
    step_of(&model, &weights)
}

fn step_of(model: &NextVlad, weights: &Weights) -> Step {
    let config = &model.config;
    // With these videos, no gate lies so near the kink of its relu that rounding turns it, which makes the gradient jump.
    let lengths: Vec<usize> = (0..19).map(|video| 1 + video * 17 % config.max_frames).collect();
    let (batch, labels) = made_up(model, &lengths);
    let forward = model.forward_train(weights, &batch, &Dropout::Off).unwrap();
    let loss = model.loss(&forward.logits, &labels).unwrap().mean_all().unwrap();
    Step {
        logits: forward.logits.detach(),
        evaluated: model.forward_eval(weights, &batch).unwrap(),
        gradients: backward(&loss, weights).unwrap(),
    }
}

#[test]
fn outputs_and_gradients_lie_near_those_of_float64() {
    for (config, padding) in [(tiny(), 0), (middle(), 0), (middle(), 60)] {
        let config = NextVladConfig { pad_to: padding, ..config };
        let exact = step(&config, Kernels::Plain, Precision::F32, DType::F64);
        let rounded = yardstick(&config);
        let names = model(config.clone(), Kernels::Auto).parameters().into_iter().map(|spec| spec.name);
        let names: Vec<String> =
            ["logits", "evaluated logits"].map(String::from).into_iter().chain(names).collect();
        let all = |step: &Step| {
            let mut all = vec![step.logits.clone(), step.evaluated.clone()];
            all.extend(step.gradients.tensors.iter().cloned());
            all
        };
        for kernels in [Kernels::Folded, Kernels::Unfolded] {
            let found = step(&config, kernels, Precision::Bf16, DType::F32);
            let values = all(&found).into_iter().zip(all(&rounded)).zip(all(&exact));
            for (name, ((found, rounded), exact)) in names.iter().zip(values) {
                // The exact gradient of this parameter is zero, see docs/numerics.md.
                if name.ends_with(".vlad_norm.bias") {
                    continue;
                }
                let (away, yardstick) = (share(&found, &exact), share(&rounded, &exact));
                assert!(
                    away < FACTOR * yardstick,
                    "{kernels:?} {name}: {away}, and {yardstick} from rounding weights alone"
                );
                // Rounding takes place: without it, the distance is that of f32.
                assert!(away > 1e-5, "{kernels:?} {name}: {away}");
            }
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let compute = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let step = step(&middle(), Kernels::Folded, Precision::Bf16, DType::F32);
            let gradients = step.gradients.tensors.iter().flat_map(values).collect::<Vec<_>>();
            (values(&step.logits), values(&step.evaluated), gradients)
        })
    };
    let one = compute(1);
    assert!(one == compute(2) && one == compute(5));
}

/// Short videos, one video, and both ways in which an evaluation scales for dropout, with statistics that were learned.
#[test]
fn evaluation_lies_near_float64_for_every_form_of_batch() {
    for dropout in [DropoutMode::DownscaleInEval, DropoutMode::UpscaleInTrain] {
        for l2_norm in [L2Norm::SqrtSumPlusEpsilon, L2Norm::SqrtMaxEpsilon] {
            let config = NextVladConfig { dropout, l2_norm, ..middle() };
            let exact = NextVlad::new(config.clone()).unwrap();
            let mut found = exact.clone();
            found.precision = Precision::Bf16;
            let stir = |model: &NextVlad, dtype| {
                let mut weights = stirred(model, dtype);
                // Statistics of a batch in place of zeros and ones.
                let (batch, _) = made_up(model, &[40, 7, 60, 1, 25]);
                let moments = model.forward_train(&weights, &batch, &Dropout::Off).unwrap().moments;
                weights.buffers = model.fold_moments(&weights, &[&moments]).unwrap();
                weights
            };
            let double = stir(&exact, DType::F64);
            let single = stir(&exact, DType::F32);
            let evaluator = found.evaluator(&single).unwrap().unwrap();
            for lengths in [&[1][..], &[60], &[3, 1, 2], &[17, 60, 33, 1, 59, 8]] {
                let (batch, _) = made_up(&exact, lengths);
                let expected = exact.forward_eval(&double, &batch).unwrap();
                let logits = evaluator.logits(&batch).unwrap();
                let away = share(&logits, &expected);
                assert!(away < LOGITS, "{dropout:?} {l2_norm:?} {lengths:?}: {away}");
                assert_eq!(values(&logits), values(&found.forward_eval(&single, &batch).unwrap()));
            }
            let (long, _) = made_up(&exact, &[61]);
            assert!(evaluator.logits(&long).unwrap_err().to_string().contains("a video of 61 frames"));
        }
    }
}

#[test]
fn what_bf16_cannot_compute_is_refused() {
    let mut refused = NextVlad::new(tiny()).unwrap();
    refused.precision = Precision::Bf16;
    let (batch, _) = made_up(&refused, &[3, 2]);
    let double: Weights = stirred(&refused, DType::F64);
    let error = refused.forward_eval(&double, &batch).unwrap_err().to_string();
    assert!(error.contains("need f32 weights and the kernels of the CPU"), "{error}");
    refused.kernels = Kernels::Plain;
    let error = refused.forward_train(&stirred(&refused, DType::F32), &batch, &Dropout::Off).unwrap_err();
    assert!(error.to_string().contains("need f32 weights and the kernels of the CPU"), "{error}");
}
