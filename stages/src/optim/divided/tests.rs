//! Updates over several devices against those of one, and what each device holds.

use std::sync::Arc;

use candle_core::{DType, Device, Storage};

use super::*;
use crate::collective::LIMIT;
use crate::model::{Gradients, Logistic, LogisticConfig, Model};
use crate::optim::{AdamConfig, Clip, Updated, reduce, reduce_scatter};

/// 7 × 9 weights and 7 biases.
fn weights() -> Weights {
    let config = LogisticConfig { rgb_size: 5, audio_size: 4, classes: 7, ..LogisticConfig::default() };
    let model: Arc<dyn Model> = Arc::new(Logistic::new(config).unwrap());
    let mut weights = Weights::initial(model, 1, &Device::Cpu, DType::F32).unwrap();
    weights.buffers.push(Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap());
    weights
}

/// With `apart`, every device has a memory of its own, as GPUs have.
fn divided(clip: Clip, devices: usize, apart: bool) -> Divided {
    let team = Team::local(&vec![("cpu".to_owned(), Device::Cpu); devices], LIMIT);
    let team = if apart { team.apart() } else { team };
    let shapes = weights().parameters.iter().map(|parameter| parameter.shape().clone()).collect::<Vec<_>>();
    let cut = Cut::with_pieces(shapes, devices, 5);
    let l2_parameters = weights().model.parameters().into_iter().map(|spec| spec.name).collect();
    let config = AdamConfig { clip, l2: 0.1, l2_parameters, ..AdamConfig::default() };
    Divided::new(Adam::new(config), team, Arc::new(cut))
}

/// The gradients of a shard of step `step`.
fn gradients(step: usize, shard: usize) -> Gradients {
    let wave = |parameter: &Var| {
        let count = parameter.elem_count();
        let wave: Vec<f32> = (0..count).map(|i| ((i * 7 + shard * 3 + step * 11) as f32).sin()).collect();
        Tensor::from_vec(wave, parameter.shape(), &Device::Cpu).unwrap()
    };
    Gradients { tensors: weights().parameters.iter().map(wave).collect() }
}

fn buffers(step: usize) -> Vec<Tensor> {
    vec![Tensor::full(step as f32, 3, &Device::Cpu).unwrap()]
}

fn sliced(divided: &Divided, step: usize) -> Sliced {
    let shards = [gradients(step, 0), gradients(step, 1)];
    let members = divided.team().members().len();
    let parts = [(&shards[0], 2), (&shards[1], 1)];
    reduce_scatter(divided.team(), divided.cut(), &parts, |shard| shard * members / 2, None).unwrap()
}

fn bits<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<u32> {
    let values = tensors.into_iter().flat_map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    values.map(f32::to_bits).collect()
}

fn weights_bits(weights: &Weights) -> Vec<u32> {
    let tensors: Vec<_> = weights.named_tensors().into_iter().map(|(_, tensor)| tensor).collect();
    bits(tensors.iter().chain(&weights.buffers))
}

/// Five updates, each into the memory of the version before the last.
fn run(divided: &Divided) -> Vec<Version> {
    let mut versions = vec![divided.start(weights()).unwrap()];
    let mut kept = vec![divided.start(weights()).unwrap()];
    for step in 0..5 {
        let memory = (kept.len() > 1).then(|| kept.remove(0).into_memory());
        let memory = memory.map(|memory| memory.expect("nobody else holds it"));
        let current = kept.last().unwrap();
        let (next, finite) =
            divided.update(current, &sliced(divided, step), &buffers(step), 0.1, memory).unwrap();
        assert!(finite);
        kept.push(next);
        // The versions to compare are copies, so that the memory can be used again.
        let last = kept.last().unwrap();
        let copy = divided.restore((**last.weights()).clone(), &last.moments.join().unwrap()).unwrap();
        let replicas = last.replicas.iter().map(|w| Arc::new(copied(w))).collect();
        versions.push(Version { replicas, moments: copy.moments });
    }
    versions
}

fn copied(weights: &Weights) -> Weights {
    let copy = |tensor: &Tensor| tensor.force_contiguous().unwrap();
    let parameters = weights.parameters.iter().map(|p| copy(&p.as_detached_tensor()));
    let parameters = parameters.map(|tensor| Var::from_tensor(&tensor).unwrap()).collect();
    let buffers = weights.buffers.iter().map(copy).collect();
    Weights { model: weights.model.clone(), parameters, buffers }
}

#[test]
fn every_version_is_the_same_on_any_number_of_devices_with_and_without_shared_memory() {
    for clip in [Clip::Off, Clip::Global { norm: 0.7 }, Clip::PerVariable { norm: 0.3 }] {
        let one = run(&divided(clip, 1, false));
        for (devices, apart) in [(2, false), (2, true), (3, true), (4, false), (4, true), (20, true)] {
            let several = run(&divided(clip, devices, apart));
            for (step, (one, several)) in one.iter().zip(&several).enumerate() {
                assert_eq!(several.replicas.len(), if apart { devices } else { 1 });
                for replica in &several.replicas {
                    let same = weights_bits(replica) == weights_bits(one.weights());
                    assert!(same, "step {step} on {devices} devices, apart: {apart}, {clip:?}");
                }
                let (a, b) = (one.moments.join().unwrap(), several.moments.join().unwrap());
                assert_eq!((bits(a.tensors()), a.updates), (bits(b.tensors()), b.updates));
            }
        }
    }
}

#[test]
fn an_update_in_slices_is_the_update_of_adam() {
    let divided = divided(Clip::Off, 3, true);
    let versions = run(&divided);
    let (mut weights, adam) = (weights(), divided.adam.clone());
    let mut moments = Moments::zeros(&weights).unwrap();
    for (step, version) in versions.iter().enumerate() {
        assert_eq!(weights_bits(version.weights()), weights_bits(&weights), "step {step}");
        let gradients = reduce(&[(&gradients(step, 0), 2), (&gradients(step, 1), 1)]).unwrap();
        let next: Updated = adam.update(&weights, &moments, &gradients, 0.1, None).unwrap();
        (weights, moments) = (next.weights, next.moments);
        weights.buffers = buffers(step);
    }
}

/// The number of elements of the memory in which a tensor lies.
fn allocated(tensor: &Tensor) -> usize {
    match &*tensor.storage_and_layout().0 {
        Storage::Cpu(storage) => storage.as_slice::<f32>().unwrap().len(),
        _ => panic!("not on the CPU"),
    }
}

#[test]
fn each_device_holds_its_slice_of_the_moments_and_no_more() {
    for devices in [1, 2, 4] {
        let divided = divided(Clip::Off, devices, false);
        for version in run(&divided) {
            assert_eq!(version.moments.slices.len(), devices);
            for (slice, moments) in version.moments.slices.iter().enumerate() {
                let held: usize = moments.tensors().map(allocated).sum();
                assert_eq!(held, 2 * divided.cut().elements(slice));
                // The 70 numbers of either kind are cut in pieces of 5.
                assert!(held.abs_diff(2 * 70 / devices) <= 2 * 6, "{held} numbers of {devices} devices");
            }
        }
    }
}

#[test]
fn a_number_that_is_not_finite_is_seen_by_all() {
    for devices in [1, 3] {
        let divided = divided(Clip::Off, devices, true);
        let version = divided.start(weights()).unwrap();
        for slice in 0..devices {
            let mut gradients = sliced(&divided, 0);
            let first = &gradients.slices[slice][0];
            gradients.slices[slice][0] = first.affine(f64::NAN, 0.0).unwrap();
            let (_, finite) = divided.update(&version, &gradients, &buffers(0), 0.1, None).unwrap();
            assert!(!finite);
        }
    }
}

#[test]
fn what_belongs_to_another_division_is_refused() {
    let (two, three) = (divided(Clip::Off, 2, false), divided(Clip::Off, 3, false));
    let version = two.start(weights()).unwrap();
    let update = |gradients: &Sliced, memory| two.update(&version, gradients, &buffers(0), 0.1, memory);
    let error = update(&sliced(&three, 0), None).unwrap_err().to_string();
    assert!(error.contains("gradients in 3 slices for parameters in 2"), "{error}");
    let memory = three.start(weights()).unwrap().into_memory();
    let error = update(&sliced(&two, 0), memory).unwrap_err().to_string();
    assert!(error.contains("one of other devices"), "{error}");
    let mut others = weights();
    others.parameters.pop();
    assert!(two.start(others).unwrap_err().to_string().contains("cut for other parameters"));
    assert!(version.clone().into_memory().is_none() && version.is_free());
}
