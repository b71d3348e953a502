//! Tests of imported weights: PaddlePaddle's own files, and files with the names and layouts of the authors' TensorFlow
//! code, give the golden evaluation.

use std::io::Write;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use framewise_stages::import::{Imported, Options, import};
use framewise_stages::model::{Kernels, Model, Weights};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::common::root;
use crate::device::device;
use crate::model::support::{Golden, assert_near, golden_path, lengths, model, pack, values};

/// A float32 run may lie this many times farther from the float64 values than the reference's own float32 run.
const FACTOR: f64 = 4.0;

/// Evaluates the golden input with imported weights, and compares every intermediate value.
fn compare(golden: &Golden, imported: &Imported) {
    let mut config = golden.config();
    // A weights file does not contain this choice.
    config.max_frames = imported.config.max_frames;
    let sizes =
        (config.rgb_size, config.audio_size, config.classes, config.clusters, config.groups, config.hidden);
    let found = &imported.config;
    assert_eq!(
        sizes,
        (found.rgb_size, found.audio_size, found.classes, found.clusters, found.groups, found.hidden)
    );
    assert_eq!(
        (config.audio_clusters, config.audio_groups, config.expansion, config.gating_reduction),
        (found.audio_clusters, found.audio_groups, found.expansion, found.gating_reduction)
    );
    let model = model(config, Kernels::Auto);
    let named = imported.weights.named_tensors();
    let weights = Weights::from_named(Arc::new(model.clone()), named, &device(), DType::F32).unwrap();
    let lengths = lengths(golden.tensor("input.lengths"));
    let batch = pack(golden.tensor("input.rgb"), golden.tensor("input.audio"), &lengths);
    let check = |name: &str, value: &Tensor| {
        let expected = golden.tensor(name);
        let largest = values(expected).into_iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        let tolerance = FACTOR * golden.float32_distance(name) + largest * f64::from(f32::EPSILON);
        assert_near(name, &value.reshape(expected.shape()).unwrap(), expected, tolerance);
    };
    let mut seen = 0;
    let logits = model
        .trace_eval(&weights, &batch, &mut |name: &str, value: &Tensor| {
            if name.ends_with(".features") {
                // The golden file has these values with padding. `outputs` compares them.
                return;
            }
            seen += 1;
            check(&format!("eval.{name}"), value);
        })
        .unwrap();
    assert_eq!(seen, 7, "intermediate values");
    check("eval.logits", &logits);
    check("eval.probs", &candle_nn::ops::sigmoid(&logits).unwrap());
    let labels = golden.tensor("input.labels").to_device(&device()).unwrap();
    let loss = model.loss(&logits, &labels).unwrap().mean_all().unwrap();
    check("eval.loss", &loss);
}

#[test]
fn paddle_files_of_both_protocols_give_the_golden_evaluation() {
    let golden = Golden::load("small");
    for protocol in [2, 4] {
        let path = golden_path(&format!("paddle/nextvlad_small_protocol{protocol}.pdparams"));
        let given = import(&path, &Options { map: None, config: Some(golden.config()) }).unwrap();
        let inferred = import(&path, &Options::default()).unwrap();
        assert!(inferred.unused.is_empty(), "{:?}", inferred.unused);
        assert!(inferred.rows.iter().all(|row| row.from.is_some()));
        // The float32 of the pickle are those of the golden file, bit for bit.
        for (weights, name) in [(&given.weights, "given"), (&inferred.weights, "inferred")] {
            for (tensor, value) in weights.named_tensors() {
                let golden_name = match tensor.as_str() {
                    "input.rgb_scale" => tensor.clone(),
                    name if name.contains(".running_") => format!("buffer.{name}"),
                    name => format!("param.{name}"),
                };
                assert_near(&format!("{name} {tensor}"), &value, golden.tensor(&golden_name), 0.0);
            }
        }
        compare(&golden, &inferred);
    }
}

/// A `.npy` file of float32, version 1.0.
fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    file
}

#[test]
fn tensorflow_names_and_layouts_come_through_the_shipped_map() {
    // These are the authors' dimensions: audio has half as many clusters and groups.
    let golden = Golden::load("small_tfdims");
    let map = root().join("configs/import/nextvlad-tensorflow.toml");
    let entries: toml::Table = std::fs::read_to_string(&map).unwrap().parse().unwrap();

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tensorflow.npz");
    let mut archive = ZipWriter::new(std::fs::File::create(&path).unwrap());
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::STORE);
    let mut put = |name: &str, shape: &[usize], values: &[f32]| {
        archive.start_file(format!("{name}.npy"), stored).unwrap();
        archive.write_all(&npy(shape, values)).unwrap();
    };
    for (theirs, entry) in &entries {
        let ours = entry.as_str().or_else(|| entry["name"].as_str()).unwrap();
        let tensor =
            ["param", "buffer"].iter().find_map(|part| golden.tensors.get(&format!("{part}.{ours}")));
        let tensor = tensor.unwrap_or_else(|| panic!("{ours}")).to_dtype(DType::F32).unwrap();
        // TensorFlow multiplies rows with matrices [in, out], and keeps centers [1, D, K].
        let there = if tensor.rank() == 2 { tensor.t().unwrap().contiguous().unwrap() } else { tensor };
        let there = if ours.ends_with("centers") { there.unsqueeze(0).unwrap() } else { there };
        put(theirs, there.dims(), &there.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    }
    put("tower/hidden1_weights/Adam", &[2], &[0.0, 0.0]);
    archive.finish().unwrap();

    let mut imported = import(&path, &Options { map: Some(map), config: None }).unwrap();
    assert_eq!(imported.unused, ["tower/hidden1_weights/Adam f32 [2]"]);
    let missing: Vec<&str> =
        imported.rows.iter().filter(|row| row.from.is_none()).map(|row| row.ours.as_str()).collect();
    assert_eq!(missing, ["input.rgb_scale"]);
    // TensorFlow's graph has the factors of the visual features as constants.
    let scale = golden.tensor("input.rgb_scale").to_dtype(DType::F32).unwrap();
    let place = imported.weights.model.buffers().iter().position(|buffer| buffer.name == "input.rgb_scale");
    imported.weights.buffers[place.unwrap()] = scale;
    compare(&golden, &imported);
}
