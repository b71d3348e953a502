//! The laws of stored files, with what the tests share.

mod content;
mod lifetime;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::json;
use tempfile::TempDir;

use super::*;

fn tensor(length: usize, shape: &[usize], seed: u32) -> Tensor {
    let values: Vec<f32> = (0..length as u32)
        .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761)) as f32 / 1e7 - 200.0)
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn checkpoint(step: u64) -> Checkpoint {
    let seed = step as u32;
    let named = |name: &str, tensor: Tensor| (name.to_owned(), tensor);
    Checkpoint {
        step,
        epoch: 2,
        samples: 1 << 54 | 1,
        updates: step + 3,
        seed: u64::MAX - 1,
        cursor: json!({"file": "train0001.tfrecord", "record": 17, "nested": [1, {"z": null, "a": 0.1}]}),
        model: json!({"clusters": 128, "drop_rate": 0.5}),
        graph: format!("[graph]\nname = \"test ü\" # step {step}\n"),
        weights: vec![
            named("rgb.expand.weight", tensor(700 * 301, &[700, 301], seed)),
            named("classifier.bias", tensor(7, &[7], seed + 1)),
            named("audio.assign_norm.running_var", tensor(4, &[4], seed + 2)),
            named("empty", tensor(0, &[0, 5], 0)),
            named("scalar", tensor(1, &[], 3)),
        ],
        moments: vec![
            named("second.rgb.expand.weight", tensor(700 * 301, &[700, 301], seed + 4)),
            named("first.rgb.expand.weight", tensor(700 * 301, &[700, 301], seed + 5)),
        ],
        metrics: BTreeMap::from([("loss".to_owned(), 1.0 / 3.0), ("map".to_owned(), f64::NAN)]),
    }
}

fn bits(tensors: &[(String, Tensor)]) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let mut bits: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| {
            let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (name.clone(), tensor.dims().to_vec(), values.iter().map(|value| value.to_bits()).collect())
        })
        .collect();
    bits.sort();
    bits
}

fn assert_equal(got: &Checkpoint, expected: &Checkpoint) {
    assert_eq!(bits(&got.weights), bits(&expected.weights));
    assert_eq!(bits(&got.moments), bits(&expected.moments));
    let rest = |c: &Checkpoint| {
        let metrics: Vec<_> = c.metrics.iter().map(|(name, value)| (name.clone(), value.to_bits())).collect();
        let numbers = [c.step, c.epoch, c.samples, c.updates, c.seed];
        (numbers, c.cursor.clone(), c.model.clone(), c.graph.clone(), metrics)
    };
    assert_eq!(rest(got), rest(expected));
}

/// Name → bytes of every file in a directory.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    names(directory).into_iter().map(|name| (name.clone(), fs::read(directory.join(name)).unwrap())).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn metric(name: &str, value: f64) -> BTreeMap<String, f64> {
    BTreeMap::from([(name.to_owned(), value)])
}

/// A directory of small checkpoints with these steps.
fn saved(steps: &[u64]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for &step in steps {
        let mut small = checkpoint(step);
        small.weights.truncate(0);
        small.moments.truncate(0);
        save(directory.path(), &small).unwrap();
    }
    directory
}
