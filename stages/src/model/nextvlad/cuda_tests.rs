//! NeXtVLAD by the kernels of GPUs: in the emulator, and with `FRAMEWISE_CUDA=1` in a build with the feature `cuda` also on
//! the first GPU.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::config::{DropoutMode, NextVladConfig};
use super::network::NextVlad;
use crate::kernels::backend::Kernels;
use crate::kernels::cuda::{counted, places, program};
use crate::kernels::forms::L2Norm;
use crate::kernels::precision::Precision;
use crate::model::batch::DeviceBatch;
use crate::model::definition::{Model, Weights};
use crate::model::dropout::Dropout;
use crate::model::gradients::backward;

fn config() -> NextVladConfig {
    NextVladConfig {
        rgb_size: 19,
        audio_size: 9,
        classes: 7,
        max_frames: 300,
        clusters: 5,
        audio_clusters: 3,
        groups: 2,
        audio_groups: 3,
        hidden: 11,
        expansion: 6,
        gating_reduction: 2,
        drop_rate: 0.5,
        ..NextVladConfig::default()
    }
}

/// Videos of these lengths, with bytes and labels that look like noise.
fn batch(config: &NextVladConfig, lengths: &[usize], device: &Device) -> (DeviceBatch, Tensor) {
    let frames: usize = lengths.iter().sum();
    let bytes = |width: usize, salt: usize| {
        let values: Vec<u8> =
            (0..frames * width).map(|i| ((i * 2_654_435_761 + salt * 97) >> 7 & 255) as u8).collect();
        Tensor::from_vec(values, (frames, width), &Device::Cpu).unwrap().to_device(device).unwrap()
    };
    let labels: Vec<f32> =
        (0..lengths.len() * config.classes).map(|i| f32::from(u8::from(i % 3 == 0))).collect();
    let labels = Tensor::from_vec(labels, (lengths.len(), config.classes), device).unwrap();
    let batch = DeviceBatch {
        rgb: bytes(config.rgb_size, 1),
        audio: bytes(config.audio_size, 2),
        lengths: lengths.to_vec(),
    };
    (batch, labels)
}

/// Weights without zeros and ones, and statistics that a batch might leave.
fn weights(model: &Arc<dyn Model>, dtype: DType, device: &Device) -> Weights {
    let mut weights = Weights::initial(model.clone(), 3, &Device::Cpu, DType::F32).unwrap();
    let noise = |tensor: &Tensor, salt: usize| {
        let values: Vec<f32> = (0..tensor.elem_count())
            .map(|i| {
                let mixed =
                    ((i + 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (salt as u64 * 0x5851_f42d);
                (mixed.wrapping_mul(0xd129_42f0_fa1f_1ab3) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
            })
            .collect();
        Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap()
    };
    for (index, parameter) in weights.parameters.iter().enumerate() {
        let stirred = (parameter.as_detached_tensor() + noise(parameter, index) * 0.2).unwrap();
        parameter.set(&stirred).unwrap();
    }
    for (index, buffer) in weights.buffers.iter_mut().enumerate() {
        // Means, variances and the scale of the features may all be positive.
        *buffer = ((noise(buffer, 100 + index) * 0.4).unwrap() + 1.0).unwrap();
    }
    let bring = |tensor: &Tensor| tensor.to_dtype(dtype).unwrap().to_device(device).unwrap();
    Weights {
        model: model.clone(),
        parameters: weights
            .parameters
            .iter()
            .map(|parameter| Var::from_tensor(&bring(&parameter.as_detached_tensor())).unwrap())
            .collect(),
        buffers: weights.buffers.iter().map(bring).collect(),
    }
}

/// What a model computes: the training logits, the statistics of its batch norms, the gradients and the evaluated logits.
fn computed(
    config: &NextVladConfig,
    lengths: &[usize],
    (kernels, precision): (Kernels, Precision),
    (dtype, device): (DType, &Device),
) -> Result<Vec<(String, Tensor)>> {
    let model: Arc<dyn Model> = Arc::new(NextVlad { config: config.clone(), kernels, precision });
    let weights = weights(&model, dtype, device);
    let (batch, labels) = batch(config, lengths, device);
    let dropout = Dropout::Seeded { seed: 5, step: 2, shard: 1 };
    let forward = model.forward_train(&weights, &batch, &dropout)?;
    let loss = model.loss(&forward.logits, &labels)?.mean_all()?;
    let mut all = vec![("logits".to_owned(), forward.logits.detach())];
    for (index, layer) in forward.moments.layers.iter().enumerate() {
        all.push((format!("mean {index}"), layer.mean.clone()));
        all.push((format!("variance {index}"), layer.variance.clone()));
    }
    let gradients = backward(&loss, &weights)?;
    all.extend(model.parameters().into_iter().map(|spec| spec.name).zip(gradients.tensors));
    all.push(("evaluated logits".to_owned(), model.forward_eval(&weights, &batch)?));
    Ok(all)
}

/// The distance of two tensors as a share of the length of the second.
fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    let doubles = |tensor: &Tensor| {
        let tensor = tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (doubles(found), doubles(expected));
    let length = expected.iter().map(|b| b * b).sum::<f64>().sqrt();
    found.iter().zip(&expected).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt() / length
}

/// The choices of kernels that mean those of a GPU on a place, without the fold and with it.
fn on_gpu(place: &Device) -> [Kernels; 2] {
    if place.is_cpu() {
        [Kernels::Emulated, Kernels::EmulatedFolded]
    } else {
        [Kernels::Unfolded, Kernels::Folded]
    }
}

/// The videos of a batch: short ones, and together more than the 256 and 64 rows of a part of a sum.
const LENGTHS: [usize; 5] = [3, 1, 170, 17, 90];

#[test]
fn in_f32_everything_is_that_of_plain_operations_in_f64() {
    for place in places() {
        for (pad_to, l2_norm, dropout) in [
            (0, L2Norm::SqrtSumPlusEpsilon, DropoutMode::DownscaleInEval),
            (300, L2Norm::SqrtMaxEpsilon, DropoutMode::UpscaleInTrain),
        ] {
            let config = NextVladConfig { pad_to, l2_norm, dropout, ..config() };
            let plain = (Kernels::Plain, Precision::F32);
            let exact = computed(&config, &LENGTHS, plain, (DType::F64, &Device::Cpu)).unwrap();
            // Padded rows matter most without the fold, so that one is left out without them.
            for kernels in on_gpu(&place).into_iter().skip(usize::from(pad_to == 0)) {
                let found =
                    computed(&config, &LENGTHS, (kernels, Precision::F32), (DType::F32, &place)).unwrap();
                assert_eq!(found.len(), exact.len());
                for ((name, found), (_, exact)) in found.iter().zip(&exact) {
                    // The exact gradient of this parameter is zero, see docs/numerics.md.
                    if name.ends_with(".vlad_norm.bias") {
                        continue;
                    }
                    let away = distance(found, exact);
                    assert!(away < 2e-5, "{place:?} {kernels:?} pad {pad_to}, {name}: {away}");
                }
            }
        }
    }
}

#[test]
fn in_bf16_nothing_is_further_from_f64_than_on_the_cpu() {
    for place in places() {
        let config = NextVladConfig { pad_to: 300, ..config() };
        let exact = computed(&config, &LENGTHS, (Kernels::Plain, Precision::F32), (DType::F64, &Device::Cpu))
            .unwrap();
        for (kernels, of_cpu) in on_gpu(&place).into_iter().zip([Kernels::Unfolded, Kernels::Folded]) {
            let found =
                computed(&config, &LENGTHS, (kernels, Precision::Bf16), (DType::F32, &place)).unwrap();
            let on_cpu =
                computed(&config, &LENGTHS, (of_cpu, Precision::Bf16), (DType::F32, &Device::Cpu)).unwrap();
            for (((name, found), (_, on_cpu)), (_, exact)) in found.iter().zip(&on_cpu).zip(&exact) {
                if name.ends_with(".vlad_norm.bias") {
                    continue;
                }
                let (away, yardstick) = (distance(found, exact), distance(on_cpu, exact));
                // Both round the same numbers, but add in another order, so some roundings go the other way. The evaluation
                // on the CPU joins weights before it rounds them.
                assert!(
                    away < 2.0 * yardstick + 1e-4,
                    "{place:?} {kernels:?} {name}: {away}, and {yardstick} on the CPU"
                );
                // Rounding takes place: without it, the distance is that of f32.
                assert!(away > 2e-5, "{place:?} {kernels:?} {name}: {away}");
            }
        }
    }
}

#[test]
fn two_runs_give_the_same_bits() {
    for place in places() {
        let of = (on_gpu(&place)[1], Precision::Bf16);
        let run = || {
            let all = computed(&config(), &[4, 9], of, (DType::F32, &place)).unwrap();
            all.into_iter()
                .flat_map(|(_, tensor)| {
                    tensor.to_device(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
                })
                .map(f32::to_bits)
                .collect::<Vec<u32>>()
        };
        assert_eq!(run(), run());
    }
}

/// The numbers of docs/performance.md. Besides, candle launches some kernels of its own.
#[test]
fn a_step_launches_as_many_kernels_as_the_docs_say() {
    if program().is_none() {
        return;
    }
    for (precision, kernels, expected) in [
        (Precision::F32, Kernels::EmulatedFolded, [66, 32, 6]),
        (Precision::Bf16, Kernels::EmulatedFolded, [114, 32, 6]),
        (Precision::F32, Kernels::Emulated, [66, 24, 6]),
    ] {
        let model: Arc<dyn Model> = Arc::new(NextVlad { config: config(), kernels, precision });
        let weights = weights(&model, DType::F32, &Device::Cpu);
        let step = |videos: usize| {
            let (batch, labels) = batch(&config(), &vec![2; videos], &Device::Cpu);
            let (_, counts) = counted(|| {
                let dropout = Dropout::Seeded { seed: 5, step: 2, shard: 1 };
                let forward = model.forward_train(&weights, &batch, &dropout).unwrap();
                let loss = model.loss(&forward.logits, &labels).unwrap().mean_all().unwrap();
                backward(&loss, &weights).unwrap()
            });
            counts
        };
        // The number of kernels does not depend on the batch, and each video has products of its own.
        let ((kernels, products), (more_kernels, more_products)) = (step(2), step(3));
        let of_a_video = more_products - products;
        assert_eq!(kernels, more_kernels);
        assert_eq!([kernels, products - 2 * of_a_video, of_a_video], expected, "{precision:?}");
    }
}

#[test]
fn what_has_no_kernel_on_a_gpu_is_refused() {
    let Some(place) = places().into_iter().next() else { return };
    let kernels = on_gpu(&place)[0];
    let refused = |precision, dtype| {
        computed(&config(), &[2, 1], (kernels, precision), (dtype, &place)).unwrap_err().to_string()
    };
    assert!(refused(Precision::F32, DType::F64).contains("F32"));
    assert!(refused(Precision::Bf16, DType::F64).contains("f32 weights"));
    for precision in [Precision::Int8, Precision::Int8x2] {
        let model: Arc<dyn Model> = Arc::new(NextVlad { config: config(), kernels, precision });
        let weights = weights(&model, DType::F32, &place);
        let error = model.forward_eval(&weights, &batch(&config(), &[2], &place).0).unwrap_err().to_string();
        assert!(error.contains("on the CPU only"), "{error}");
    }
}
