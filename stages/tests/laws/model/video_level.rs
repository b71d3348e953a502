//! Law: the video-level models compute what YouTube-8M's starter code defines. The tests compare logits, losses,
//! gradients (by hand and by finite differences) and initial values with plain f64 loops that are written here.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use framewise_stages::model::{
    DeviceBatch, Dropout, InputNorm, Kernels, Logistic, LogisticConfig, MixtureConfig, MixtureOfExperts,
    Model, Weights, backward,
};
use framewise_stages::random;

const VIDEOS: usize = 5;
const RGB: usize = 4;
const AUDIO: usize = 3;
const CLASSES: usize = 6;
const INPUTS: usize = RGB + AUDIO;
const BOTH: [Kernels; 2] = [Kernels::Auto, Kernels::Plain];

/// Standard normal numbers that are drawn from a seed.
fn numbers(seed: u64, count: usize) -> Vec<f64> {
    random::normals(seed, "test", &[], count, |value| value)
}

fn labels() -> Vec<f64> {
    (0..VIDEOS * CLASSES).map(|i| f64::from(i % 4 == 1 || i % 7 == 0)).collect()
}

fn tensor(values: &[f64], shape: &[usize], dtype: DType) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// Visual features, audio features, and the two joined row by row.
fn inputs(dtype: DType) -> (DeviceBatch, Vec<Vec<f64>>) {
    let (rgb, audio) = (numbers(1, VIDEOS * RGB), numbers(2, VIDEOS * AUDIO));
    let joined = rgb.chunks(RGB).zip(audio.chunks(AUDIO)).map(|(r, a)| [r, a].concat()).collect();
    let batch = DeviceBatch {
        rgb: tensor(&rgb, &[VIDEOS, RGB], dtype),
        audio: tensor(&audio, &[VIDEOS, AUDIO], dtype),
        lengths: vec![1; VIDEOS],
    };
    (batch, joined)
}

fn normalized(rows: &[Vec<f64>], norm: InputNorm) -> Vec<Vec<f64>> {
    let scale = |row: &Vec<f64>| match norm {
        InputNorm::L2 => 1.0 / row.iter().map(|x| x * x).sum::<f64>().max(1e-12).sqrt(),
        InputNorm::None => 1.0,
    };
    rows.iter().map(|row| row.iter().map(|x| x * scale(row)).collect()).collect()
}

fn weights(model: Arc<dyn Model>, dtype: DType, spread: f64) -> (Weights, Vec<Vec<f64>>) {
    let specs = model.parameters();
    let values: Vec<Vec<f64>> = (10..)
        .zip(&specs)
        .map(|(seed, spec)| numbers(seed, spec.shape.iter().product()).iter().map(|v| v * spread).collect())
        .collect();
    let parameters = values.iter().zip(&specs);
    let parameters =
        parameters.map(|(v, s)| Var::from_tensor(&tensor(v, &s.shape, dtype)).unwrap()).collect();
    (Weights { model, parameters, buffers: Vec::new() }, values)
}

fn logistic(input_norm: InputNorm) -> Arc<dyn Model> {
    let config = LogisticConfig { rgb_size: RGB, audio_size: AUDIO, classes: CLASSES, input_norm };
    Arc::new(Logistic::new(config).unwrap())
}

fn mixture(mixtures: usize, input_norm: InputNorm, kernels: Kernels) -> Arc<dyn Model> {
    let config = MixtureConfig { rgb_size: RGB, audio_size: AUDIO, classes: CLASSES, mixtures, input_norm };
    Arc::new(MixtureOfExperts { kernels, ..MixtureOfExperts::new(config).unwrap() })
}

fn dot(row: &[f64], x: &[f64]) -> f64 {
    row.iter().zip(x).map(|(w, x)| w * x).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The probabilities [videos, classes] of the logistic model.
fn plain_logistic(values: &[Vec<f64>], x: &[Vec<f64>]) -> Vec<f64> {
    let class =
        |x: &Vec<f64>, c: usize| sigmoid(dot(&values[0][c * INPUTS..(c + 1) * INPUTS], x) + values[1][c]);
    x.iter().flat_map(|x| (0..CLASSES).map(|c| class(x, c)).collect::<Vec<_>>()).collect()
}

/// The probabilities [videos, classes] of the mixture, as the starter code computes them.
fn plain_mixture(values: &[Vec<f64>], x: &[Vec<f64>], mixtures: usize) -> Vec<f64> {
    let row = |matrix: usize, index: usize, x: &[f64]| {
        dot(&values[matrix][index * INPUTS..(index + 1) * INPUTS], x)
    };
    let mut probabilities = Vec::new();
    for x in x {
        for class in 0..CLASSES {
            let powers: Vec<f64> =
                (0..=mixtures).map(|m| row(0, class * (mixtures + 1) + m, x).exp()).collect();
            let sum: f64 = powers.iter().sum();
            let expert =
                |m: usize| sigmoid(row(1, class * mixtures + m, x) + values[2][class * mixtures + m]);
            probabilities.push((0..mixtures).map(|m| powers[m] / sum * expert(m)).sum());
        }
    }
    probabilities
}

/// The losses [videos] of the starter code's `CrossEntropyLoss`, without its mean over videos.
fn starter_loss(probabilities: &[f64], epsilon: f64) -> Vec<f64> {
    let element = |(p, t): (&f64, &f64)| -(t * (p + epsilon).ln() + (1.0 - t) * (1.0 - p + epsilon).ln());
    let labels = labels();
    let rows = probabilities.chunks(CLASSES).zip(labels.chunks(CLASSES));
    rows.map(|(p, t)| p.iter().zip(t).map(element).sum()).collect()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.detach().to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let bound = tolerance * expected.abs().max(1.0);
        assert!((found - expected).abs() <= bound, "{what}[{index}]: {found}, expected {expected}");
    }
}

/// Every model of these tests, with the probabilities of the plain loop.
fn cases(dtype: DType) -> Vec<(String, Weights, Vec<f64>)> {
    let (_, rows) = inputs(dtype);
    let mut cases = Vec::new();
    for norm in [InputNorm::L2, InputNorm::None] {
        let x = normalized(&rows, norm);
        let (own, values) = weights(logistic(norm), dtype, 0.4);
        cases.push((format!("logistic {norm:?}"), own, plain_logistic(&values, &x)));
        for (mixtures, kernels) in [1, 2, 4].into_iter().flat_map(|m| BOTH.map(|kernels| (m, kernels))) {
            let (own, values) = weights(mixture(mixtures, norm, kernels), dtype, 0.4);
            let expected = plain_mixture(&values, &x, mixtures);
            cases.push((format!("{mixtures} mixtures {norm:?} {kernels:?}"), own, expected));
        }
    }
    cases
}

#[test]
fn probabilities_and_losses_are_those_of_the_plain_loop() {
    // An f32 has 24 bits, and a logit here is a sum of about ten numbers around 1.
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 4e-6)] {
        let (batch, _) = inputs(dtype);
        let labels = tensor(&labels(), &[VIDEOS, CLASSES], dtype);
        for (name, weights, expected) in cases(dtype) {
            let model = &weights.model;
            let train = model.forward_train(&weights, &batch, &Dropout::Off).unwrap();
            assert!(train.moments.layers.is_empty());
            let eval = model.forward_eval(&weights, &batch).unwrap();
            assert_eq!(flat(&train.logits), flat(&eval), "{name}");
            assert_eq!(eval.dims(), [VIDEOS, CLASSES]);
            let probabilities: Vec<f64> = flat(&eval).into_iter().map(sigmoid).collect();
            close(&probabilities, &expected, tolerance, &name);
            let losses = flat(&model.loss(&train.logits, &labels).unwrap());
            close(&losses, &starter_loss(&expected, 0.0), tolerance * 4.0, &name);
            // The starter code adds the small number 10e-8 inside its logarithms, which changes the loss of a class by
            // ε/p.
            assert!(expected.iter().all(|p| (1e-3..1.0 - 1e-3).contains(p)), "{name} {expected:?}");
            close(&losses, &starter_loss(&expected, 1e-7), CLASSES as f64 * 1e-4 + 4.0 * tolerance, &name);
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let (batch, rows) = inputs(DType::F64);
    let labels_tensor = tensor(&labels(), &[VIDEOS, CLASSES], DType::F64);
    let models: Vec<(Arc<dyn Model>, usize)> = vec![
        (logistic(InputNorm::L2), 0),
        (logistic(InputNorm::None), 0),
        (mixture(1, InputNorm::None, Kernels::Auto), 1),
        (mixture(2, InputNorm::L2, Kernels::Auto), 2),
        (mixture(3, InputNorm::None, Kernels::Auto), 3),
        (mixture(2, InputNorm::L2, Kernels::Plain), 2),
        (mixture(3, InputNorm::None, Kernels::Plain), 3),
    ];
    for (model, mixtures) in models {
        let norm =
            if model.describe()["config"]["input_norm"] == "l2" { InputNorm::L2 } else { InputNorm::None };
        let x = normalized(&rows, norm);
        let (weights, values) = weights(model.clone(), DType::F64, 1.0);
        let forward = model.forward_train(&weights, &batch, &Dropout::Off).unwrap();
        let loss = model.loss(&forward.logits, &labels_tensor).unwrap().mean_all().unwrap();
        let gradients = backward(&loss, &weights).unwrap();
        // The differences are those of the plain loop's loss, not of the model's own.
        let mean = |values: &[Vec<f64>]| {
            let p =
                if mixtures == 0 { plain_logistic(values, &x) } else { plain_mixture(values, &x, mixtures) };
            starter_loss(&p, 0.0).iter().sum::<f64>() / VIDEOS as f64
        };
        let step = 1e-5;
        for (index, (spec, gradient)) in model.parameters().iter().zip(&gradients.tensors).enumerate() {
            assert_eq!(gradient.dims(), spec.shape);
            let found = flat(gradient);
            let moved = |at: usize, by: f64| {
                let mut values = values.clone();
                values[index][at] += by;
                mean(&values)
            };
            let expected: Vec<f64> =
                (0..found.len()).map(|at| (moved(at, step) - moved(at, -step)) / (2.0 * step)).collect();
            close(&found, &expected, 1e-8, &format!("{} {}", model.name(), spec.name));
            assert!(found.iter().any(|g| g.abs() > 1e-3), "{}: no gradient to compare", spec.name);
        }
    }
}

#[test]
fn the_logistic_gradient_is_the_textbook_s() {
    let (batch, rows) = inputs(DType::F64);
    let x = normalized(&rows, InputNorm::L2);
    let (weights, values) = weights(logistic(InputNorm::L2), DType::F64, 2.0);
    let labels = labels();
    let labels_tensor = tensor(&labels, &[VIDEOS, CLASSES], DType::F64);
    let forward = weights.model.forward_train(&weights, &batch, &Dropout::Off).unwrap();
    let loss = weights.model.loss(&forward.logits, &labels_tensor).unwrap().mean_all().unwrap();
    let gradients = backward(&loss, &weights).unwrap();
    // dW = (p − t)ᵀ x / B, db = Σ (p − t) / B
    let p = plain_logistic(&values, &x);
    let (mut dw, mut db) = (vec![0.0; CLASSES * INPUTS], vec![0.0; CLASSES]);
    for video in 0..VIDEOS {
        for class in 0..CLASSES {
            let slope = (p[video * CLASSES + class] - labels[video * CLASSES + class]) / VIDEOS as f64;
            db[class] += slope;
            (0..INPUTS).for_each(|i| dw[class * INPUTS + i] += slope * x[video][i]);
        }
    }
    close(&flat(&gradients.tensors[0]), &dw, 1e-14, "weight");
    close(&flat(&gradients.tensors[1]), &db, 1e-14, "bias");
}

#[test]
fn an_empty_input_gives_half_of_each_expert_and_its_gradient() {
    // All activations are exactly 0, where the parts of softplus have kinks. There p = Σ 1/(M+1) · 1/2.
    for kernels in BOTH {
        let model = mixture(2, InputNorm::L2, kernels);
        let (mut weights, _) = weights(model.clone(), DType::F32, 1.0);
        weights.parameters[2] = Var::zeros(CLASSES * 2, DType::F32, &Device::Cpu).unwrap();
        let zeros = |width| Tensor::zeros((1, width), DType::F32, &Device::Cpu).unwrap();
        let batch = DeviceBatch { rgb: zeros(RGB), audio: zeros(AUDIO), lengths: vec![1] };
        let forward = model.forward_train(&weights, &batch, &Dropout::Off).unwrap();
        let p: Vec<f64> = flat(&forward.logits).into_iter().map(sigmoid).collect();
        close(&p, &[1.0 / 3.0; CLASSES], 1e-6, "probabilities");
        let labels = Tensor::ones((1, CLASSES), DType::F32, &Device::Cpu).unwrap();
        let loss = model.loss(&forward.logits, &labels).unwrap().mean_all().unwrap();
        let gradients = backward(&loss, &weights).unwrap();
        // d(−ln p)/d e_m = −g_m · s(1 − s) / p = −(1/3 · 1/4) / (1/3)
        close(&flat(&gradients.tensors[2]), &[-0.25; CLASSES * 2], 1e-6, "expert biases");
    }
}

#[test]
fn huge_activations_have_finite_losses_and_gradients() {
    let (batch, _) = inputs(DType::F32);
    let labels_tensor = tensor(&labels(), &[VIDEOS, CLASSES], DType::F32);
    let mixtures = BOTH.map(|kernels| mixture(2, InputNorm::None, kernels));
    for model in mixtures.into_iter().chain([logistic(InputNorm::None)]) {
        for spread in [1e2, 1e4, 1e8] {
            let (weights, _) = weights(model.clone(), DType::F32, spread);
            let forward = model.forward_train(&weights, &batch, &Dropout::Off).unwrap();
            let losses = model.loss(&forward.logits, &labels_tensor).unwrap();
            assert!(flat(&losses).iter().all(|l| l.is_finite()), "{} {spread}", model.name());
            assert!(
                flat(&losses).iter().any(|l| *l > spread / 10.0),
                "{} {spread}: nothing is huge",
                model.name()
            );
            let gradients = backward(&losses.mean_all().unwrap(), &weights).unwrap();
            for (spec, gradient) in model.parameters().iter().zip(&gradients.tensors) {
                assert!(flat(gradient).iter().all(|g| g.is_finite()), "{} {spread}", spec.name);
            }
        }
    }
}

#[test]
fn initial_values_have_glorot_s_variance_and_the_published_sizes() {
    let large = MixtureConfig { rgb_size: 300, audio_size: 100, classes: 100, ..MixtureConfig::default() };
    let model: Arc<dyn Model> = Arc::new(MixtureOfExperts::new(large).unwrap());
    let weights = Weights::initial(model, 3, &Device::Cpu, DType::F64).unwrap();
    for (index, outputs) in [(0, 300.0), (1, 200.0)] {
        let values = flat(&weights.parameters[index]);
        let square = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
        let expected = 2.0 / (400.0 + outputs);
        // The mean of n squares of normal values has a relative deviation of sqrt(2/n).
        let deviation = (2.0 / values.len() as f64).sqrt();
        assert!((square / expected - 1.0).abs() < 4.0 * deviation, "{index}: {square} {expected}");
    }
    assert!(flat(&weights.parameters[2]).iter().all(|v| *v == 0.0));
    let count = |model: &dyn Model| {
        model.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum::<usize>()
    };
    // There are 1152 inputs and 3862 classes. The logistic model has a matrix and its biases. For each class, the
    // mixture has three gates without biases and two experts with biases.
    assert_eq!(count(&Logistic::new(LogisticConfig::default()).unwrap()), 3862 * 1153);
    assert_eq!(
        count(&MixtureOfExperts::new(MixtureConfig::default()).unwrap()),
        3862 * (3 * 1152 + 2 * 1153)
    );
}

#[test]
fn what_is_no_batch_of_means_is_refused() {
    let (weights, _) = weights(logistic(InputNorm::L2), DType::F32, 1.0);
    let model = weights.model.clone();
    let (good, _) = inputs(DType::F32);
    let bytes = Tensor::zeros((VIDEOS, RGB), DType::U8, &Device::Cpu).unwrap();
    let narrow = good.rgb.narrow(1, 0, RGB - 1).unwrap();
    for (rgb, part) in [(bytes, "U8"), (narrow, "[5, 3]")] {
        let bad = DeviceBatch { rgb, ..good.clone() };
        let error = model.forward_eval(&weights, &bad).unwrap_err().to_string();
        assert!(error.contains("mean_rgb") && error.contains(part), "{error}");
    }
    let nobody = DeviceBatch { lengths: vec![], ..good };
    assert!(model.forward_eval(&weights, &nobody).unwrap_err().to_string().contains("without videos"));
    assert!(Logistic::new(LogisticConfig { classes: 0, ..LogisticConfig::default() }).is_err());
    assert!(MixtureOfExperts::new(MixtureConfig { mixtures: 0, ..MixtureConfig::default() }).is_err());
}
