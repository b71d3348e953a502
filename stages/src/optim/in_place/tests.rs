//! Updates in place against updates into memory of their own, bit for bit, and the refusal of updates that may not be
//! finite.

use std::sync::Arc;

use candle_core::{DType, Var};

use super::*;
use crate::model::{Gradients, Model, NextVlad, NextVladConfig};
use crate::optim::{AdamConfig, Clip};

fn weights() -> Weights {
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
    let model: Arc<dyn Model> = Arc::new(NextVlad::new(config).unwrap());
    Weights::initial(model, 1, &Device::Cpu, DType::F32).unwrap()
}

/// Waves of the size that `height` says for each parameter.
fn gradients(weights: &Weights, t: usize, height: impl Fn(usize) -> f64) -> Gradients {
    let wave = |(index, parameter): (usize, &Var)| {
        let value = |i: usize| (height(index) * ((i * 7 + index * 3 + t * 11) as f64).sin()) as f32;
        let wave: Vec<f32> = (0..parameter.elem_count()).map(value).collect();
        Tensor::from_vec(wave, parameter.shape(), &Device::Cpu).unwrap()
    };
    Gradients { tensors: weights.parameters.iter().enumerate().map(wave).collect() }
}

fn bits<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<u32> {
    let values = tensors.into_iter().flat_map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    values.map(f32::to_bits).collect()
}

fn all_bits(weights: &Weights, moments: &Moments) -> Vec<u32> {
    bits(weights.parameters.iter().map(|p| p.as_tensor()).chain(moments.tensors()))
}

#[test]
fn an_update_in_place_makes_the_same_numbers() {
    for clip in [Clip::Off, Clip::Global { norm: 0.7 }, Clip::PerVariable { norm: 0.3 }] {
        let adam = Adam::new(AdamConfig { l2: 0.1, clip, ..AdamConfig::default() });
        let (mut apart, ours) = (weights(), weights());
        let (mut apart_moments, mut our_moments) =
            (Moments::zeros(&apart).unwrap(), Moments::zeros(&ours).unwrap());
        let mut bounds = None;
        for t in 1..=5 {
            let gradients = gradients(&ours, t, |_| 0.2);
            let next = adam.update(&apart, &apart_moments, &gradients, 0.01, None).unwrap();
            (apart, apart_moments) = (next.weights, next.moments);
            let next = adam.update_in_place(&ours, &our_moments, &gradients.tensors, 0.01, &mut bounds);
            our_moments = next.unwrap().expect("finite");
            assert_eq!(our_moments.updates, t as u64);
            assert_eq!(all_bits(&ours, &our_moments), all_bits(&apart, &apart_moments), "{clip:?} {t}");
            let found = Bounds::of(&views_of(&ours), &our_moments).unwrap();
            let bounds = bounds.unwrap();
            assert!(
                found.parameter <= bounds.parameter
                    && found.first <= bounds.first
                    && found.second <= bounds.second,
                "{found:?} {bounds:?}"
            );
        }
    }
}

fn views_of(weights: &Weights) -> Vec<Tensor> {
    weights.parameters.iter().map(|parameter| parameter.as_detached_tensor()).collect()
}

#[test]
fn nothing_is_written_where_a_number_may_not_be_finite() {
    let config = AdamConfig { l2: 0.1, ..AdamConfig::default() };
    let not = [f64::NAN, f64::INFINITY, 1e30];
    for (config, height, rate) in not
        .map(|height| (config.clone(), height, 0.01))
        .into_iter()
        // The root of a second moment of 0 is 0, and ε is 0 in f32. The rate is infinite in f32.
        .chain([(AdamConfig { epsilon: 1e-50, ..config.clone() }, 0.0, 0.01), (config.clone(), 0.0, 1e60)])
    {
        let adam = Adam::new(config);
        let ours = weights();
        let moments = Moments::zeros(&ours).unwrap();
        let before = all_bits(&ours, &moments);
        let gradients = gradients(&ours, 1, |index| if index == 9 { height } else { 0.0 });
        let mut bounds = None;
        let next = adam.update_in_place(&ours, &moments, &gradients.tensors, rate, &mut bounds).unwrap();
        assert!(next.is_none(), "{height} {rate}");
        assert_eq!(all_bits(&ours, &moments), before, "{height} {rate}");
        // The update that is exact finds the same.
        let next = adam.update(&ours, &moments, &gradients, rate, None).unwrap();
        assert!(!next.finite, "{height} {rate}");
    }
}

#[test]
fn bounds_that_have_grown_too_large_are_measured_anew() {
    let adam = Adam::new(AdamConfig::default());
    let ours = weights();
    let moments = Moments::zeros(&ours).unwrap();
    let gradients = gradients(&ours, 1, |_| 0.2);
    let mut bounds = Some(Bounds { parameter: 1e36, first: 1e36, second: 0.0 });
    let next = adam.update_in_place(&ours, &moments, &gradients.tensors, 0.01, &mut bounds).unwrap();
    assert!(next.is_some());
    assert!(bounds.unwrap().first < 1.0);
}
