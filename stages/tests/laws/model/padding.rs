//! Test of the padded rows of the preset `paper`: a plain computation writes them out, and is compared with the count
//! that stands for them.

use candle_core::{DType, Tensor};
use framewise_stages::model::{BatchMoments, Dropout, Model, NextVladConfig};

use crate::model::support::{KERNELS, assert_near, made_up, model, stirred, tiny};

/// The mean and the biased variance of the visual assignment logits, where every padded row is a row of zeros.
fn written_out(config: &NextVladConfig, lengths: &[usize]) -> (Tensor, Tensor) {
    let model = model(config.clone(), Default::default());
    let weights = stirred(&model, DType::F64);
    let get = |name: &str| weights.get(name).unwrap();
    let (batch, _) = made_up(&model, lengths);
    let x = (batch.rgb.to_dtype(DType::F64).unwrap().affine(4.0 / 255.0, -2.0)).unwrap();
    let x = x.broadcast_mul(&get("input.rgb_scale")).unwrap();
    let padding = config.pad_to * lengths.len() - x.dim(0).unwrap();
    let zeros = Tensor::zeros((padding, config.rgb_size), DType::F64, x.device()).unwrap();
    let x = Tensor::cat(&[&x, &zeros], 0).unwrap();
    let h = x.matmul(&get("rgb.expand.weight").t().unwrap()).unwrap();
    let h = h.broadcast_add(&get("rgb.expand.bias")).unwrap();
    let s = h.matmul(&get("rgb.assign.weight").t().unwrap()).unwrap();
    let mean = s.mean(0).unwrap();
    let variance = s.broadcast_sub(&mean).unwrap().sqr().unwrap().mean(0).unwrap();
    (mean, variance)
}

#[test]
fn padded_rows_enter_the_assignments_statistics() {
    let lengths = [4, 1, 9, 3];
    for pad_to in [0, 9, 30] {
        let config = NextVladConfig { pad_to, ..tiny() };
        for kernels in KERNELS {
            let model = model(config.clone(), kernels);
            let weights = stirred(&model, DType::F64);
            let (batch, _) = made_up(&model, &lengths);
            let BatchMoments { layers } =
                model.forward_train(&weights, &batch, &Dropout::Off).unwrap().moments;
            if pad_to == 0 {
                assert_eq!(layers[0].rows, 17);
                continue;
            }
            let (mean, variance) = written_out(&config, &lengths);
            assert_eq!(layers[0].rows, pad_to * 4);
            assert_near(&format!("mean {kernels:?}"), &layers[0].mean, &mean, 1e-12);
            assert_near(&format!("variance {kernels:?}"), &layers[0].variance, &variance, 1e-12);
        }
    }
}

#[test]
fn padding_changes_no_evaluation() {
    let (plain, padded) = (model(tiny(), Default::default()), NextVladConfig { pad_to: 30, ..tiny() });
    let padded = model(padded, Default::default());
    let weights = stirred(&plain, DType::F64);
    let (batch, _) = made_up(&plain, &[4, 1, 9, 3]);
    let logits = plain.forward_eval(&weights, &batch).unwrap();
    assert_near("logits", &padded.forward_eval(&weights, &batch).unwrap(), &logits, 0.0);
}
