//! Tests of NeXtVLAD's evaluation with weights of whole numbers, against float64.

use candle_core::DType;
use framewise_stages::model::{
    Dropout, DropoutMode, L2Norm, Model, NextVlad, NextVladConfig, Precision, Weights,
};

use crate::model::support::{made_up, middle, share, stirred, tiny, values};

/// The allowed distance of the logits of an evaluation, as a share of their length.
///
/// With one plane, a weight moves by at most 1/254 of the largest weight of its output, twice on the way through a
/// modality and three times in the head, and batch norms make differences larger. With two planes, what remains is that of
/// numbers of 16 bits and of f32.
const LOGITS: [(Precision, f64); 2] = [(Precision::Int8, 1.0 / 32.0), (Precision::Int8x2, 1.0 / 4096.0)];

fn in_precision(model: &NextVlad, precision: Precision) -> NextVlad {
    let mut model = model.clone();
    model.precision = precision;
    model
}

/// Weights with the statistics of a batch in place of zeros and ones.
fn weights(model: &NextVlad, dtype: DType) -> Weights {
    let mut weights = stirred(model, dtype);
    let (batch, _) = made_up(model, &[40, 7, 60, 1, 25]);
    let moments = model.forward_train(&weights, &batch, &Dropout::Off).unwrap().moments;
    weights.buffers = model.fold_moments(&weights, &[&moments]).unwrap();
    weights
}

/// Short videos, one video, and all forms of the model.
#[test]
fn evaluation_lies_near_float64_for_every_form_of_batch() {
    for dropout in [DropoutMode::DownscaleInEval, DropoutMode::UpscaleInTrain] {
        for l2_norm in [L2Norm::SqrtSumPlusEpsilon, L2Norm::SqrtMaxEpsilon] {
            let exact = NextVlad::new(NextVladConfig { dropout, l2_norm, ..middle() }).unwrap();
            let (double, single) = (weights(&exact, DType::F64), weights(&exact, DType::F32));
            for (precision, most) in LOGITS {
                let found = in_precision(&exact, precision);
                let evaluator = found.evaluator(&single).unwrap().unwrap();
                for lengths in [&[1][..], &[60], &[3, 1, 2], &[17, 60, 33, 1, 59, 8]] {
                    let (batch, _) = made_up(&exact, lengths);
                    let expected = exact.forward_eval(&double, &batch).unwrap();
                    let logits = evaluator.logits(&batch).unwrap();
                    let away = share(&logits, &expected);
                    assert!(away < most, "{precision:?} {dropout:?} {l2_norm:?} {lengths:?}: {away}");
                    // Rounding takes place: without it, the distance is that of f32.
                    assert!(away > 1e-6, "{precision:?} {dropout:?} {l2_norm:?} {lengths:?}: {away}");
                    assert_eq!(values(&logits), values(&found.forward_eval(&single, &batch).unwrap()));
                }
                let (long, _) = made_up(&exact, &[61]);
                assert!(evaluator.logits(&long).unwrap_err().to_string().contains("a video of 61 frames"));
            }
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let model = NextVlad::new(middle()).unwrap();
    let weights = weights(&model, DType::F32);
    for (precision, _) in LOGITS {
        let found = in_precision(&model, precision);
        let logits = |threads: usize, lengths: &[usize]| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (batch, _) = made_up(&model, lengths);
            pool.install(|| values(&found.forward_eval(&weights, &batch).unwrap()))
        };
        let one = logits(1, &[17, 60, 33, 1, 59, 8]);
        assert!(one == logits(2, &[17, 60, 33, 1, 59, 8]) && one == logits(5, &[17, 60, 33, 1, 59, 8]));
    }
}

#[test]
fn what_whole_numbers_cannot_compute_is_refused() {
    let model = NextVlad::new(tiny()).unwrap();
    let (batch, _) = made_up(&model, &[3, 2]);
    let single = stirred(&model, DType::F32);
    for (precision, word) in [(Precision::Int8, "int8"), (Precision::Int8x2, "int8x2")] {
        let refused = in_precision(&model, precision);
        let error = refused.forward_train(&single, &batch, &Dropout::Off).unwrap_err().to_string();
        assert!(
            error.contains(&format!("precision {word} is for evaluation and prediction alone")),
            "{error}"
        );
        let error = refused.forward_eval(&stirred(&model, DType::F64), &batch).unwrap_err().to_string();
        assert!(error.contains("need f32 weights and the kernels of the CPU"), "{error}");
        // Two planes of one hidden layer of 70,000 inputs would leave 32 bits.
        let wide = NextVlad::new(NextVladConfig { hidden: 70_000, gating_reduction: 7, ..tiny() }).unwrap();
        let why = wide.in_precision(precision).unwrap_err();
        assert_eq!(why, format!("hidden is 70000, and {word} adds up at most 65793 products exactly"));
    }
}
