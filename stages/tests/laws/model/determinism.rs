//! Law: a step has the same bits from run to run, whatever the number of threads.

use std::process::Command;
use std::sync::Arc;

use candle_core::DType;
use framewise_stages::model::{Dropout, Kernels, Model, NextVladConfig, Weights, backward};
use framewise_stages::optim::{Adam, AdamConfig, Clip, Moments};

use crate::device::device;
use crate::model::support::{made_up, model, values};

/// A hash of all results of a step that is large enough for products and sums to be split over threads.
fn step() -> u64 {
    let config = NextVladConfig {
        rgb_size: 192,
        audio_size: 48,
        classes: 300,
        clusters: 32,
        audio_clusters: 32,
        hidden: 256,
        ..NextVladConfig::paddle()
    };
    let model = model(config, Kernels::Auto);
    let weights = Weights::initial(Arc::new(model.clone()), 1, &device(), DType::F32).unwrap();
    let (batch, labels) = made_up(&model, &[300, 1, 123, 207, 64, 280, 33]);
    let dropout = Dropout::Seeded { seed: 1, step: 0, shard: 0 };
    let forward = model.forward_train(&weights, &batch, &dropout).unwrap();
    let losses = model.loss(&forward.logits, &labels).unwrap();
    let gradients = backward(&losses.mean_all().unwrap(), &weights).unwrap();
    let adam = Adam::new(AdamConfig { clip: Clip::Global { norm: 0.5 }, ..AdamConfig::default() });
    let moments = Moments::zeros(&weights).unwrap();
    let next = adam.update(&weights, &moments, &gradients, 1e-3, None).unwrap().weights;
    let buffers = model.fold_moments(&weights, &[&forward.moments]).unwrap();
    let logits = model.forward_eval(&next, &batch).unwrap();
    let all = gradients.tensors.iter().chain(&buffers).chain([&losses, &logits]);
    let bits = all.flat_map(values).map(f64::to_bits);
    // The hash is FNV-1a over words.
    bits.fold(0xCBF2_9CE4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01B3))
}

#[test]
fn a_step_repeats_bit_for_bit() {
    assert_eq!(step(), step());
}

/// Prints the hash. The test below runs this in processes of their own, because candle reads the number of threads
/// once.
#[test]
fn print_step() {
    println!("hash={:016x}", step());
}

#[test]
fn a_step_does_not_depend_on_the_number_of_threads() {
    // A test is named by its module without the crate.
    let (_, name) = concat!(module_path!(), "::print_step").split_once("::").unwrap();
    let with_threads = |threads: usize| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env("RAYON_NUM_THREADS", threads.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, hash) = text.split_once("hash=").unwrap_or_else(|| panic!("no hash in {text}"));
        hash[..16].to_owned()
    };
    let hashes: Vec<String> = [1, 2, 3, 8].map(with_threads).to_vec();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    assert_eq!(hashes[0], format!("{:016x}", step()));
}
