//! Tests of the names, shapes, counts and initial values of the parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use framewise_stages::model::{Init, Kernels, Misfit, Model, NextVladConfig, Weights, WeightsError};

use crate::model::support::{Golden, distance, golden_json, model, tiny, values};

#[test]
fn both_presets_have_the_parameters_of_the_reference() {
    let counts = golden_json("parameter_counts.json");
    for (preset, config) in [("paddle", NextVladConfig::paddle()), ("paper", NextVladConfig::paper())] {
        let model = model(config, Kernels::Auto);
        let count = |shape: &[usize]| shape.iter().product::<usize>() as u64;
        let found: BTreeMap<String, u64> =
            model.parameters().into_iter().map(|spec| (spec.name, count(&spec.shape))).collect();
        let expected: BTreeMap<String, u64> =
            serde_json::from_value(counts[preset]["per_param"].clone()).unwrap();
        assert_eq!(found, expected);
        assert_eq!(found.values().sum::<u64>(), counts[preset]["trainable"].as_u64().unwrap());
        let running: u64 = model
            .buffers()
            .iter()
            .filter(|spec| spec.name != "input.rgb_scale")
            .map(|spec| count(&spec.shape))
            .sum();
        assert_eq!(running, counts[preset]["running_stats"].as_u64().unwrap());
    }
}

#[test]
fn the_order_of_parameters_is_that_of_the_counts_file() {
    // serde_json's map sorts its keys, so the order is read from the text.
    let text = std::fs::read_to_string(crate::model::support::golden_path("parameter_counts.json")).unwrap();
    let positions: Vec<usize> = model(NextVladConfig::paddle(), Kernels::Auto)
        .parameters()
        .iter()
        .map(|spec| text.find(&format!("\"{}\"", spec.name)).unwrap())
        .collect();
    assert!(positions.is_sorted());
}

#[test]
fn shapes_are_those_of_the_golden_weights() {
    for name in ["small", "small_tfdims"] {
        let golden = Golden::load(name);
        let model = model(golden.config(), Kernels::Auto);
        for spec in model.parameters() {
            assert_eq!(golden.tensor(&format!("param.{}", spec.name)).dims(), spec.shape);
        }
        for spec in model.buffers().iter().filter(|spec| spec.name != "input.rgb_scale") {
            assert_eq!(golden.tensor(&format!("buffer.{}", spec.name)).dims(), spec.shape);
        }
    }
}

#[test]
fn initial_values_have_the_moments_of_their_distribution() {
    let config = NextVladConfig { hidden: 256, classes: 100, ..NextVladConfig::paddle() };
    for paper in [false, true] {
        let centers_fan_in = if paper { NextVladConfig::paper() } else { config.clone() }.centers_fan_in;
        let model = model(NextVladConfig { centers_fan_in, ..config.clone() }, Kernels::Auto);
        let fan_in = |name: &str, shape: &[usize]| match name.ends_with("centers") {
            true if paper => shape[1],
            true => shape[0],
            false => *shape.last().unwrap(),
        };
        let weights = Weights::initial(Arc::new(model.clone()), 1, &Device::Cpu, DType::F32).unwrap();
        for (spec, parameter) in model.parameters().iter().zip(&weights.parameters) {
            assert_eq!(parameter.dims(), spec.shape, "{}", spec.name);
            let values = values(parameter);
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            match spec.init {
                Init::Zeros => assert!(values.iter().all(|v| *v == 0.0), "{}", spec.name),
                Init::Ones => assert!(values.iter().all(|v| *v == 1.0), "{}", spec.name),
                Init::Normal { .. } => {
                    let expected = 2.0 / fan_in(&spec.name, &spec.shape) as f64;
                    // The bounds are six standard errors of either moment.
                    assert!(mean.abs() < 6.0 * (expected / n).sqrt(), "{}: mean {mean}", spec.name);
                    let relative = (variance / expected - 1.0).abs();
                    assert!(relative < 6.0 * (2.0 / n).sqrt(), "{}: {variance} for {expected}", spec.name);
                }
            }
        }
        for (spec, buffer) in model.buffers().iter().zip(&weights.buffers) {
            let fill = if spec.name.ends_with("running_mean") { 0.0 } else { 1.0 };
            assert!(values(buffer).iter().all(|v| *v == fill), "{}", spec.name);
        }
    }
}

#[test]
fn initial_values_repeat_and_depend_on_the_seed() {
    let model = Arc::new(model(tiny(), Kernels::Auto));
    let draw = |seed, dtype| Weights::initial(model.clone(), seed, &Device::Cpu, dtype).unwrap();
    let (one, again, other) = (draw(1, DType::F32), draw(1, DType::F32), draw(2, DType::F32));
    let exact = draw(1, DType::F64);
    for (index, spec) in model.parameters().iter().enumerate() {
        let bits = |weights: &Weights| -> Vec<u64> {
            values(&weights.parameters[index]).into_iter().map(f64::to_bits).collect()
        };
        assert_eq!(bits(&one), bits(&again), "{}", spec.name);
        if matches!(spec.init, Init::Normal { .. }) {
            assert!(distance(&one.parameters[index], &other.parameters[index]) > 0.0, "{}", spec.name);
            assert!(distance(&one.parameters[index], &exact.parameters[index]) < 1e-6);
        }
    }
}

#[test]
fn named_tensors_make_the_same_weights_again_and_errors_name_the_tensor() {
    let model = Arc::new(model(tiny(), Kernels::Auto));
    let weights = Weights::initial(model.clone(), 3, &Device::Cpu, DType::F32).unwrap();
    let named = weights.named_tensors();
    let make =
        |named: Vec<(String, Tensor)>| Weights::from_named(model.clone(), named, &Device::Cpu, DType::F32);
    let again = make(named.clone()).unwrap();
    for ((name, one), (_, two)) in named.iter().zip(again.named_tensors()) {
        assert_eq!(distance(one, &two), 0.0, "{name}");
        assert_eq!(distance(one, &weights.get(name).unwrap()), 0.0, "{name}");
    }
    assert!(weights.get("no.such").is_none());

    let without: Vec<_> = named.iter().filter(|(name, _)| name != "rgb.centers").cloned().collect();
    let misfits = |named| match make(named).unwrap_err() {
        WeightsError::Misfits { misfits, .. } => misfits,
        error => panic!("{error}"),
    };
    let missing =
        |name: &str, expected: &[usize]| Misfit::Missing { name: name.into(), expected: expected.into() };
    assert_eq!(misfits(without.clone()), [missing("rgb.centers", &[3, 3])]);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let mut reshaped = without.clone();
    reshaped.push(("rgb.centers".into(), zeros(&[3, 9])));
    let shape = Misfit::Shape { name: "rgb.centers".into(), found: vec![3, 9], expected: vec![3, 3] };
    assert_eq!(misfits(reshaped.clone()), std::slice::from_ref(&shape));
    let mut more = named.clone();
    more.push(("left.over".into(), zeros(&[1])));
    let unknown = Misfit::Unknown { name: "left.over".into(), found: vec![1] };
    assert_eq!(misfits(more), std::slice::from_ref(&unknown));

    // All are reported at once, each on a line. Those of the model come first, in the order of the model.
    let audio = weights.get("audio.centers").unwrap();
    reshaped.retain(|(name, _)| name != "audio.centers");
    reshaped.push(("left.over".into(), zeros(&[1])));
    let found = misfits(reshaped.clone());
    assert_eq!(found.len(), 3);
    assert!(
        found.contains(&shape)
            && found.contains(&missing("audio.centers", audio.dims()))
            && found[2] == unknown
    );
    let text = make(reshaped).unwrap_err().to_string();
    assert!(text.starts_with("the tensors are not those of model `nextvlad`:\n  tensor `"), "{text}");
    assert!(text.ends_with("\n  tensor `left.over` [1] is none of the model's"), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
    // If there are so many that a message could not hold them, they are counted.
    let mut many = named.clone();
    many.extend((0..50).map(|n| (format!("other.{n:02}"), zeros(&[1]))));
    let text = make(many).unwrap_err().to_string();
    assert!(text.ends_with("`other.39` [1] is none of the model's\n  and 10 more"), "{text}");
}

#[test]
fn a_batch_that_does_not_fit_is_an_error() {
    let model = model(tiny(), Kernels::Auto);
    let weights = Weights::initial(Arc::new(model.clone()), 3, &Device::Cpu, DType::F32).unwrap();
    let (good, _) = crate::model::support::made_up(&model, &[3, 2]);
    assert!(model.forward_eval(&weights, &good).is_ok());
    for lengths in [vec![], vec![5, 0], vec![3, 3], vec![1, 1]] {
        let mut bad = good.clone();
        bad.lengths = lengths;
        assert!(model.forward_eval(&weights, &bad).is_err());
    }
    let (long, _) = crate::model::support::made_up(&model, &[model.config.max_frames + 1]);
    assert!(model.forward_eval(&weights, &long).is_err());
}
