//! Tests of Adam against its formula, written out one number at a time, and of its two implementations against each
//! other.

use std::sync::Arc;

use candle_core::{DType, Device};
use framewise_pipeline::Settings;

use super::*;
use crate::kernels::cuda::program;
use crate::model::{Model, NextVlad, NextVladConfig};

fn model() -> Arc<dyn Model> {
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
    Arc::new(NextVlad::new(config).unwrap())
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The gradients of update `t`, which are waves of differing size.
fn gradients(weights: &Weights, t: usize) -> Gradients {
    let wave = |(index, parameter): (usize, &Var)| {
        let count = parameter.elem_count();
        let wave: Vec<f64> = (0..count).map(|i| 0.2 * ((i * 7 + index * 3 + t * 11) as f64).sin()).collect();
        let wave = Tensor::from_vec(wave, parameter.shape(), &Device::Cpu).unwrap();
        wave.to_dtype(parameter.dtype()).unwrap()
    };
    Gradients { tensors: weights.parameters.iter().enumerate().map(wave).collect() }
}

fn settings() -> Vec<AdamConfig> {
    let mut all = Vec::new();
    for epsilon_place in [EpsilonPlace::AfterCorrection, EpsilonPlace::BeforeCorrection] {
        for clip in [Clip::Off, Clip::Global { norm: 0.7 }, Clip::PerVariable { norm: 0.3 }] {
            // ε and L2 are large enough to show where they stand.
            all.push(AdamConfig { epsilon: 1e-2, epsilon_place, l2: 0.1, clip, ..AdamConfig::default() });
        }
    }
    all
}

fn norm<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

#[test]
fn updates_follow_the_formula() {
    for config in settings() {
        let model = model();
        let mut weights = Weights::initial(model.clone(), 1, &Device::Cpu, DType::F64).unwrap();
        let mut moments = Moments::zeros(&weights).unwrap();
        let mut w: Vec<Vec<f64>> = weights.parameters.iter().map(|p| values(p)).collect();
        let (mut m, mut v): (Vec<Vec<f64>>, Vec<Vec<f64>>) =
            w.iter().map(|w| (vec![0.0; w.len()], vec![0.0; w.len()])).unzip();
        let (b1, b2, rate) = (config.beta1, config.beta2, 0.01);
        let mut recycled = None;
        for t in 1..=5 {
            let gradients = gradients(&weights, t);
            let mut g: Vec<Vec<f64>> = gradients.tensors.iter().map(values).collect();
            if let Clip::Global { norm: limit } = config.clip {
                let factor = limit / norm(g.iter().flatten()).max(limit);
                assert!(factor < 1.0);
                g.iter_mut().flatten().for_each(|g| *g *= factor);
            }
            let adam = Adam::new(config.clone());
            let next = adam.update(&weights, &moments, &gradients, rate, recycled.take()).unwrap();
            let t = t as i32;
            for (index, spec) in model.parameters().iter().enumerate() {
                if spec.name.starts_with("classifier.") {
                    g[index].iter_mut().zip(&w[index]).for_each(|(g, w)| *g += config.l2 * w);
                }
                if let Clip::PerVariable { norm: limit } = config.clip {
                    let factor = limit / norm(g[index].iter()).max(limit);
                    g[index].iter_mut().for_each(|g| *g *= factor);
                }
                for i in 0..w[index].len() {
                    m[index][i] = b1 * m[index][i] + (1.0 - b1) * g[index][i];
                    v[index][i] = b2 * v[index][i] + (1.0 - b2) * g[index][i].powi(2);
                    let (m, v) = (m[index][i], v[index][i]);
                    let (c1, c2) = (1.0 - b1.powi(t), 1.0 - b2.powi(t));
                    w[index][i] -= match config.epsilon_place {
                        EpsilonPlace::AfterCorrection => rate * (m / c1) / ((v / c2).sqrt() + config.epsilon),
                        EpsilonPlace::BeforeCorrection => {
                            rate * c2.sqrt() / c1 * m / (v.sqrt() + config.epsilon)
                        }
                    };
                }
                let found = [
                    &next.weights.parameters[index] as &Tensor,
                    &next.moments.first[index],
                    &next.moments.second[index],
                ];
                for (found, expected) in found.into_iter().zip([&w[index], &m[index], &v[index]]) {
                    for (found, expected) in values(found).iter().zip(expected) {
                        assert!(
                            (found - expected).abs() < 1e-13,
                            "{config:?} {}: {found} {expected}",
                            spec.name
                        );
                    }
                }
            }
            recycled = Some((
                std::mem::replace(&mut weights, next.weights),
                std::mem::replace(&mut moments, next.moments),
            ));
        }
    }
}

#[test]
fn both_implementations_agree_and_leave_their_inputs_alone() {
    for dtype in [DType::F32, DType::F64] {
        for config in settings() {
            let adam = Adam::new(config);
            let plain = Adam { kernels: Kernels::Plain, ..adam.clone() };
            let weights = Weights::initial(model(), 1, &Device::Cpu, dtype).unwrap();
            let mut moments = Moments::zeros(&weights).unwrap();
            moments.updates = 3;
            let gradients = gradients(&weights, 1);
            let before: Vec<Vec<f64>> = weights.parameters.iter().map(|p| values(p)).collect();
            let recycled = (
                Weights::initial(model(), 2, &Device::Cpu, dtype).unwrap(),
                Moments { first: gradients.tensors.clone(), ..Moments::zeros(&weights).unwrap() },
            );
            // The recycled first moments must not share memory with the gradients.
            let copies = gradients.tensors.iter().map(|g| g.force_contiguous().unwrap()).collect();
            let recycled = (recycled.0, Moments { first: copies, ..recycled.1 });
            let fused = adam.update(&weights, &moments, &gradients, 0.1, Some(recycled)).unwrap();
            let plain = plain.update(&weights, &moments, &gradients, 0.1, None).unwrap();
            if dtype == DType::F32 && program().is_some() {
                // The kernel of GPUs rounds as that of the CPU, and so gives its bits, unless gradients are clipped: sums
                // of squares have another order there.
                let emulated = Adam { kernels: Kernels::Emulated, ..adam.clone() };
                let emulated = emulated.update(&weights, &moments, &gradients, 0.1, None).unwrap();
                assert!(emulated.finite && emulated.moments.updates == 4);
                let tolerance = if adam.config.clip == Clip::Off { 0.0 } else { 1e-6 };
                for index in 0..weights.parameters.len() {
                    for (found, expected) in [
                        (
                            &emulated.weights.parameters[index] as &Tensor,
                            &fused.weights.parameters[index] as &Tensor,
                        ),
                        (&emulated.moments.first[index], &fused.moments.first[index]),
                        (&emulated.moments.second[index], &fused.moments.second[index]),
                    ] {
                        for (a, b) in values(found).iter().zip(values(expected)) {
                            assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{a} {b}");
                        }
                    }
                }
            }
            assert_eq!((fused.moments.updates, plain.moments.updates), (4, 4));
            assert!(fused.finite && plain.finite);
            let tolerance = if dtype == DType::F64 { 1e-14 } else { 1e-6 };
            for (index, before) in before.iter().enumerate() {
                assert_eq!(values(&weights.parameters[index]), *before);
                assert!(values(&moments.first[index]).iter().all(|m| *m == 0.0));
                let pairs = [
                    (
                        &fused.weights.parameters[index] as &Tensor,
                        &plain.weights.parameters[index] as &Tensor,
                    ),
                    (&fused.moments.first[index], &plain.moments.first[index]),
                    (&fused.moments.second[index], &plain.moments.second[index]),
                ];
                for (fused, plain) in pairs {
                    for (a, b) in values(fused).iter().zip(values(plain)) {
                        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{a} {b}");
                    }
                }
                assert!(
                    fused.weights.parameters[index].is_variable()
                        && plain.weights.parameters[index].is_variable()
                );
            }
        }
    }
}

#[test]
fn an_update_with_a_number_that_is_not_finite_says_so() {
    for (dtype, large) in [(DType::F32, 1e30), (DType::F64, 1e300)] {
        for config in settings() {
            let clips = config.clip != Clip::Off;
            let weights = Weights::initial(model(), 1, &Device::Cpu, dtype).unwrap();
            let moments = Moments::zeros(&weights).unwrap();
            // The last gradient is finite, but its square is not, unless the gradient is clipped.
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, large] {
                for index in [0, 7, weights.parameters.len() - 1] {
                    let mut gradients = gradients(&weights, 1);
                    let mut values = values(&gradients.tensors[index]);
                    *values.last_mut().unwrap() = bad;
                    let tensor = Tensor::from_vec(values, gradients.tensors[index].shape(), &Device::Cpu);
                    gradients.tensors[index] = tensor.unwrap().to_dtype(dtype).unwrap();
                    let clipped = clips && bad == large;
                    // The kernel of GPUs is of f32. One place serves, because its emulator takes a while.
                    let emulated = (dtype == DType::F32 && index == 7 && program().is_some())
                        .then_some(Kernels::Emulated);
                    for kernels in [Kernels::Auto, Kernels::Plain].into_iter().chain(emulated) {
                        let adam = Adam { config: config.clone(), kernels };
                        let updated = adam.update(&weights, &moments, &gradients, 0.1, None).unwrap();
                        assert_eq!(updated.finite, clipped, "{bad} in {index}, {adam:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn impossible_settings_and_unknown_names_are_errors() {
    assert!(AdamConfig::default().check().is_empty() && AdamConfig::paper().check().is_empty());
    let broken = AdamConfig {
        beta1: 1.0,
        beta2: f64::NAN,
        epsilon: 0.0,
        l2: -1.0,
        clip: Clip::Global { norm: 0.0 },
        ..AdamConfig::default()
    };
    assert_eq!(broken.check().len(), 5);
    let weights = Weights::initial(model(), 1, &Device::Cpu, DType::F32).unwrap();
    let config = AdamConfig { l2_parameters: vec!["no.such".into()], ..AdamConfig::default() };
    let moments = Moments::zeros(&weights).unwrap();
    let error = Adam::new(config).update(&weights, &moments, &gradients(&weights, 1), 0.1, None).unwrap_err();
    assert!(error.to_string().contains("no.such"));
}

#[test]
fn the_current_version_cannot_be_recycled() {
    let weights = Weights::initial(model(), 1, &Device::Cpu, DType::F32).unwrap();
    let moments = Moments::zeros(&weights).unwrap();
    let adam = Adam::new(AdamConfig::default());
    let recycled = Some((weights.clone(), Moments::zeros(&weights).unwrap()));
    let error = adam.update(&weights, &moments, &gradients(&weights, 1), 0.1, recycled).unwrap_err();
    assert!(error.to_string().contains("recycled"));
}

#[test]
fn a_configuration_is_read_from_its_keys() {
    let read = |text: &str| {
        let table: toml::Table = toml::from_str(text).unwrap();
        Settings { values: table.into_iter().collect() }.parse::<AdamConfig>()
    };
    let paddle = AdamConfig {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        epsilon_place: EpsilonPlace::AfterCorrection,
        l2: 1e-5,
        l2_parameters: vec!["classifier.weight".into(), "classifier.bias".into()],
        clip: Clip::Off,
    };
    assert_eq!(read("").unwrap(), paddle);
    assert_eq!(AdamConfig::default(), paddle);
    let paper = read("epsilon_place = \"before_correction\"\nclip = \"per_variable\"").unwrap();
    assert_eq!(paper, AdamConfig::paper());
    let global = read("clip = \"global\"\nclip_norm = 0.5\nl2_parameters = []").unwrap();
    assert_eq!(global, AdamConfig { clip: Clip::Global { norm: 0.5 }, l2_parameters: vec![], ..paddle });
    assert!(read("clip = \"all\"").is_err());
}
