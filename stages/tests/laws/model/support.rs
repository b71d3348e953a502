//! Golden files, and the models, weights and batches that are made of them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use framewise_stages::model::{DeviceBatch, Kernels, Model, NextVlad, NextVladConfig, Weights};
use serde_json::Value;

use crate::common::data;
use crate::device::device;

/// Every way to compute the model.
pub(crate) const KERNELS: [Kernels; 4] = [Kernels::Auto, Kernels::Plain, Kernels::Folded, Kernels::Unfolded];

pub(crate) fn golden_path(file: &str) -> PathBuf {
    data("golden").join(file)
}

pub(crate) fn golden_json(file: &str) -> Value {
    let text = std::fs::read_to_string(golden_path(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A golden file: its manifest and its tensors.
pub(crate) struct Golden {
    pub(crate) manifest: Value,
    pub(crate) tensors: HashMap<String, Tensor>,
}

impl Golden {
    pub(crate) fn load(name: &str) -> Self {
        let tensors =
            candle_core::safetensors::load(golden_path(&format!("{name}.safetensors")), &Device::Cpu);
        Self { manifest: golden_json(&format!("{name}.json")), tensors: tensors.unwrap() }
    }

    pub(crate) fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("golden tensor {name}"))
    }

    /// The configuration from the manifest's `config`, whose keys have longer names.
    pub(crate) fn config(&self) -> NextVladConfig {
        let config = &self.manifest["config"];
        let size = |key: &str| config[key].as_u64().unwrap() as usize;
        // 0 means the same as for the visual features.
        let or = |key: &str, other: &str| if size(key) == 0 { size(other) } else { size(key) };
        assert_eq!(config["l2norm"], "sqrt_sum_plus_eps");
        assert_eq!(config["dropout_mode"], "downgrade_in_infer");
        assert_eq!(config["loss"], "logits");
        assert_eq!(config["unbiased_gating_var"], false);
        NextVladConfig {
            rgb_size: size("video_feature_size"),
            audio_size: size("audio_feature_size"),
            classes: size("num_classes"),
            clusters: size("cluster_size"),
            audio_clusters: or("audio_cluster_size", "cluster_size"),
            groups: size("groups"),
            audio_groups: or("audio_groups", "groups"),
            hidden: size("hidden_size"),
            expansion: size("expansion"),
            gating_reduction: size("gating_reduction"),
            drop_rate: config["drop_rate"].as_f64().unwrap(),
            norm_epsilon: config["bn_eps"].as_f64().unwrap(),
            norm_momentum: config["bn_momentum"].as_f64().unwrap(),
            pad_to: size("pad_to"),
            ..NextVladConfig::paddle()
        }
    }

    /// The weights from `{parameters}.*`, `{buffers}.*` and the input factors, on the device under test.
    pub(crate) fn weights(&self, model: &NextVlad, parameters: &str, buffers: &str, dtype: DType) -> Weights {
        let mut named: BTreeMap<String, Tensor> = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            for prefix in [parameters, buffers] {
                if let Some(name) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) {
                    named.insert(name.to_owned(), tensor.clone());
                }
            }
        }
        named.insert("input.rgb_scale".to_owned(), self.tensor("input.rgb_scale").clone());
        Weights::from_named(Arc::new(model.clone()), named, &device(), dtype).unwrap()
    }

    /// For one tensor, the distance of the reference's float32 run from its float64 run.
    pub(crate) fn float32_distance(&self, name: &str) -> f64 {
        let distance = &self.manifest["float32_max_abs_diff_vs_f64"][name];
        distance.as_f64().unwrap_or_else(|| panic!("no float32 distance of {name}"))
    }
}

/// Makes packed rows, on the device under test, of the padded rows [B, longest, size] of both modalities.
pub(crate) fn pack(rgb: &Tensor, audio: &Tensor, lengths: &[usize]) -> DeviceBatch {
    let rows = |padded: &Tensor| {
        let videos: Vec<Tensor> = lengths
            .iter()
            .enumerate()
            .map(|(video, length)| padded.get(video).unwrap().narrow(0, 0, *length).unwrap())
            .collect();
        Tensor::cat(&videos, 0).unwrap().to_device(&device()).unwrap()
    };
    DeviceBatch { rgb: rows(rgb), audio: rows(audio), lengths: lengths.to_vec() }
}

pub(crate) fn lengths(tensor: &Tensor) -> Vec<usize> {
    tensor.to_vec1::<i64>().unwrap().into_iter().map(|length| length as usize).collect()
}

pub(crate) fn model(config: NextVladConfig, kernels: Kernels) -> NextVlad {
    let mut model = NextVlad::new(config).unwrap();
    model.kernels = kernels;
    model
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The largest absolute difference.
pub(crate) fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let pairs = values(found).into_iter().zip(values(expected));
    pairs
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |worst: f64, d| if d > worst || d.is_nan() { d } else { worst })
}

pub(crate) fn assert_near(name: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let distance = distance(found, expected);
    assert!(distance <= tolerance, "{name}: {distance:e} away, {tolerance:e} allowed");
}

/// A batch of synthetic bytes and labels on the device under test. Byte `i` of a modality is a hash of `i`.
pub(crate) fn made_up(model: &NextVlad, lengths: &[usize]) -> (DeviceBatch, Tensor) {
    let frames: usize = lengths.iter().sum();
    let rows = |size: usize, salt: u64| {
        let byte = |i: u64| ((i + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 51) as u8;
        let bytes: Vec<u8> = (0..(frames * size) as u64).map(byte).collect();
        Tensor::from_vec(bytes, (frames, size), &device()).unwrap()
    };
    let batch = DeviceBatch {
        rgb: rows(model.rgb_size(), 1 << 40),
        audio: rows(model.audio_size(), 1 << 41),
        lengths: lengths.to_vec(),
    };
    let (videos, classes) = (lengths.len(), model.classes());
    let label = |i: usize| if (i * 7 + i / classes).is_multiple_of(5) { 1f32 } else { 0.0 };
    let labels: Vec<f32> = (0..videos * classes).map(label).collect();
    (batch, Tensor::from_vec(labels, (videos, classes), &device()).unwrap())
}

/// The configuration of a small model with sizes that all differ.
pub(crate) fn tiny() -> NextVladConfig {
    NextVladConfig {
        rgb_size: 6,
        audio_size: 4,
        classes: 5,
        max_frames: 9,
        clusters: 3,
        audio_clusters: 2,
        groups: 4,
        audio_groups: 2,
        hidden: 8,
        expansion: 2,
        gating_reduction: 2,
        ..NextVladConfig::paddle()
    }
}

/// Weights on the device under test that differ from their initial values everywhere, so that no term vanishes.
pub(crate) fn stirred(model: &NextVlad, dtype: DType) -> Weights {
    let weights = Weights::initial(Arc::new(model.clone()), 5, &Device::Cpu, DType::F64).unwrap();
    let named = weights.named_tensors().into_iter().enumerate().map(|(index, (name, tensor))| {
        let count = tensor.elem_count();
        let wave: Vec<f64> = (0..count).map(|i| 0.3 * ((i * 13 + index * 5) as f64).sin()).collect();
        let wave = Tensor::from_vec(wave, tensor.shape(), &Device::Cpu).unwrap();
        (name, (tensor + wave).unwrap())
    });
    Weights::from_named(Arc::new(model.clone()), named, &device(), dtype).unwrap()
}

/// |found − expected| / |expected|.
pub(crate) fn share(found: &Tensor, expected: &Tensor) -> f64 {
    let (found, expected) = (values(found), values(expected));
    assert_eq!(found.len(), expected.len());
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let distance = length(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
    distance / length(&mut expected.iter().copied())
}

/// A model whose sizes are no multiples of those of tiles.
pub(crate) fn middle() -> NextVladConfig {
    NextVladConfig {
        rgb_size: 72,
        audio_size: 20,
        classes: 37,
        max_frames: 60,
        clusters: 24,
        audio_clusters: 10,
        groups: 4,
        audio_groups: 2,
        hidden: 48,
        gating_reduction: 4,
        ..NextVladConfig::paddle()
    }
}
