//! Laws of `framewise import`: parameters of other systems that the program imports and runs in a graph give the golden
//! values. What cannot be imported is refused, and nothing is written.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use framewise_stages::payload::{Example, Origin, Rows};
use framewise_stages::tfrecord::{Compression, RecordWriter, encode_frames};

use crate::support::cli::{Desk, SMALL, data, names, paddle};

/// A graph that predicts and measures `videos.tfrecord` with `weights.safetensors`.
const GRAPH: &str = r#"
[graph]
seed = 0

[use]
model = "model.toml"

[stages.videos]
type = "tfrecord_reader"
files = ["videos.tfrecord"]

[stages.decode]
type = "yt8m_decode"
from = "videos"
rgb_size = 32
audio_size = 8
classes = 15

[stages.batch]
type = "batch"
from = "decode"
size = 4

[stages.weights]
type = "load_weights"
path = "weights.safetensors"
config = "model"

[stages.forward]
type = "nextvlad_forward"
from = { batches = "batch", weights = "weights" }
config = "model"
mode = "evaluate"

[stages.predict]
type = "predict"
from = "forward"

[stages.metrics]
type = "metrics"
from = "predict"

[stages.top_k]
type = "top_k"
from = "predict"
k = 15

[stages.jsonl]
type = "jsonl_writer"
from = "top_k"
path = "predictions.jsonl"
"#;

/// Writes the golden input of `small` as records. Returns the tensors of the golden file.
fn golden_videos(path: &Path) -> std::collections::HashMap<String, Tensor> {
    let tensors = candle_core::safetensors::load(data("golden/small.safetensors"), &Device::Cpu).unwrap();
    let lengths = tensors["input.lengths"].to_vec1::<i64>().unwrap();
    let rows = |name: &str, video: usize| {
        let frames = tensors[name].get(video).unwrap().narrow(0, 0, lengths[video] as usize).unwrap();
        Rows::packed(frames.flatten_all().unwrap().to_vec1::<u8>().unwrap(), lengths[video] as usize)
    };
    let labels = tensors["input.labels"].to_vec2::<f32>().unwrap();
    let mut writer = RecordWriter::create(path, Compression::None).unwrap();
    for (video, length) in lengths.iter().enumerate() {
        let classes = (0u32..).zip(&labels[video]).filter(|(_, label)| **label > 0.5).map(|(class, _)| class);
        let example = Example {
            id: format!("video{video}"),
            labels: classes.collect(),
            frames: *length as usize,
            rgb: rows("input.rgb", video),
            audio: rows("input.audio", video),
            origin: Origin { file: std::sync::Arc::from(path), record: 0, byte: 0 },
        };
        writer.write(&encode_frames(&example)).unwrap();
    }
    writer.finish().unwrap();
    tensors
}

#[test]
fn imported_parameters_predict_the_golden_probabilities() {
    let manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(data("golden/small.json")).unwrap()).unwrap();
    let near = |name: &str| manifest["float32_max_abs_diff_vs_f64"][name].as_f64().unwrap();
    for protocol in [2, 4] {
        let desk = Desk::new();
        let golden = golden_videos(&desk.path("videos.tfrecord"));
        desk.write("model.toml", SMALL);
        desk.write("graph.toml", GRAPH);
        let args = ["import", &paddle(protocol), "weights.safetensors", "--model", "model.toml"];
        let said = desk.framewise(&args).expect(0);
        // The report shows every tensor of the reference's file with what became of it.
        let tensors =
            golden.keys().filter(|name| name.starts_with("param.") || name.starts_with("buffer.")).count();
        // The report also shows the factors of the visual features.
        let taken = format!("taken over  {} tensors", tensors + 1);
        assert!(said.out.contains(&taken) && said.out.contains("not used: nothing"), "{}", said.out);
        assert!(
            said.out.contains("video_fc_expansion_w") && said.out.contains("f32 [32, 64]"),
            "{}",
            said.out
        );
        assert_eq!(said.err, "");

        let (said, result) = desk.run_json(&["graph.toml", "--run-dir", "run", "-q"]);
        said.expect(0);
        let loss = golden["eval.loss"]
            .to_dtype(DType::F64)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f64>()
            .unwrap()[0];
        let found = result["results"]["loss"].as_f64().unwrap();
        let tolerance = 4.0 * near("eval.loss") + loss * f64::from(f32::EPSILON);
        assert!((found - loss).abs() <= tolerance, "{found} {loss} {tolerance:e}");

        let probabilities = golden["eval.probs"].to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
        let text = desk.read("run/predictions.jsonl");
        let mut videos = 0;
        for (line, expected) in text.lines().zip(&probabilities) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let classes = line["classes"].as_array().unwrap();
            assert_eq!(classes.len(), 15);
            for (class, score) in classes.iter().zip(line["scores"].as_array().unwrap()) {
                let (class, score) = (class.as_u64().unwrap() as usize, score.as_f64().unwrap());
                let tolerance = 4.0 * near("eval.probs") + f64::from(f32::EPSILON);
                assert!((score - expected[class]).abs() <= tolerance, "{class}: {score} {}", expected[class]);
            }
            videos += 1;
        }
        assert_eq!(videos, probabilities.len());
    }
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_and_nothing_is_written() {
    let desk = Desk::new();
    desk.write("model.toml", &SMALL.replace("hidden = 24", "hidden = 32"));
    desk.write("weights.safetensors", "what was there");
    let said =
        desk.framewise(&["import", &paddle(4), "weights.safetensors", "--model", "model.toml"]).expect(65);
    for words in [
        "nextvlad_small_protocol4.pdparams",
        "hidden1_fc_weights",
        "[24, 160]",
        "`hidden.weight` is [32, 160]",
    ] {
        assert!(said.err.contains(words), "{words}\n{}", said.err);
    }
    assert_eq!(desk.read("weights.safetensors"), "what was there");
    assert_eq!(names(desk.path(".").as_path()), ["model.toml", "weights.safetensors"]);
}

#[test]
fn what_cannot_be_imported_is_refused_with_its_code() {
    let desk = Desk::new();
    let paddle = paddle(2);
    desk.write("notes.txt", "these are notes\n");
    desk.write("map.toml", "\"hidden1_fc_weights\" = { name = \"hidden.weight\", flip = true }\n");
    desk.write("unknown.toml", "\"hidden1_fc_weights\" = \"hiden.weight\"\n");
    desk.write("part.toml", "\"hidden1_fc_weights\" = { name = \"hidden.weight\", transpose = true }\n");
    desk.write("model.toml", SMALL);
    desk.write("wrong.toml", "hiden = 24\n");
    std::fs::write(
        desk.path("attack.pdparams"),
        b"\x80\x02cos\nsystem\nX\x0d\x00\x00\x00touch invaded\x85R.",
    )
    .unwrap();
    std::fs::create_dir(desk.path("dir.safetensors")).unwrap();
    let cases: [(&[&str], i32, &str); 12] = [
        (&["nowhere.pdparams", "to.safetensors"], 66, "nowhere.pdparams"),
        (&["notes.txt", "to.safetensors"], 65, "notes.txt: this is neither a pickled dict"),
        (&[".", "to.safetensors"], 65, "a directory"),
        (&["attack.pdparams", "to.safetensors"], 65, "byte 2: the pickle asks for `os.system`"),
        (&[&paddle, "to.pdparams"], 64, "named *.safetensors"),
        (&[&paddle, "dir.safetensors"], 64, "named *.safetensors"),
        (&[&paddle, "no/to.safetensors"], 73, "cannot write"),
        (&[&paddle, "to.safetensors", "--map", "map.toml"], 78, "map.toml: `hidden1_fc_weights`: expected"),
        (
            &[&paddle, "to.safetensors", "--model", "model.toml", "--map", "unknown.toml"],
            65,
            "the map makes `hiden.weight`, which the model does not have",
        ),
        (
            &[&paddle, "to.safetensors", "--model", "model.toml", "--map", "part.toml"],
            65,
            "tensor `rgb.expand.weight` [64, 32] is missing (the map does not make it)",
        ),
        (&[&paddle, "to.safetensors", "--model", "wrong.toml"], 78, "wrong.toml: unknown field `hiden`"),
        (&[&paddle, "to.safetensors", "--eigenvalues", "eigenvals.npy"], 64, "leave --eigenvalues out"),
    ];
    for (args, code, says) in cases {
        let said = desk.framewise(&[&["import"], args].concat()).expect(code);
        assert!(said.err.contains(says) && said.out.is_empty(), "{args:?}\n{}\n{}", said.err, said.out);
    }
    assert!(!desk.path("invaded").exists());
    let left = names(desk.path(".").as_path());
    assert!(left.iter().all(|name| !name.starts_with("to.") && !name.contains(".tmp-")), "{left:?}");
}

#[test]
fn eigenvalues_become_the_factors_that_a_file_lacks() {
    let desk = Desk::new();
    // This file has our own names and lacks the factors.
    let golden = candle_core::safetensors::load(data("golden/small.safetensors"), &Device::Cpu).unwrap();
    let own = golden.iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix("param.").or_else(|| name.strip_prefix("buffer."))?;
        Some((name.to_owned(), tensor.clone()))
    });
    candle_core::safetensors::save(&own.collect(), desk.path("theirs.safetensors")).unwrap();
    golden["input.eigenvals"]
        .reshape((32, 1))
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap()
        .write_npy(desk.path("e.npy"))
        .unwrap();

    let said = desk.framewise(&["import", "theirs.safetensors", "plain.safetensors"]).expect(0);
    assert!(said.err.contains("warning: the visual features are not scaled"), "{}", said.err);
    assert!(said.out.contains("not in the file: 1 everywhere"), "{}", said.out);
    let args = ["import", "theirs.safetensors", "scaled.safetensors", "--eigenvalues", "e.npy"];
    let said = desk.framewise(&args).expect(0);
    assert!(
        said.err.is_empty() && said.out.contains("sqrt(eigenvalue) + 1e-4 of e.npy"),
        "{}\n{}",
        said.err,
        said.out
    );

    let scale = |name: &str| {
        let tensors = candle_core::safetensors::load(desk.path(name), &Device::Cpu).unwrap();
        tensors["input.rgb_scale"].to_vec1::<f32>().unwrap()
    };
    assert_eq!(scale("plain.safetensors"), [1.0; 32]);
    // The factors are the same as those of the reference, which rounds the eigenvalues to float32 first.
    let expected = golden["input.rgb_scale"].to_vec1::<f32>().unwrap();
    let found = scale("scaled.safetensors");
    assert!(
        found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 2.0 * f32::EPSILON * b),
        "{found:?} {expected:?}"
    );
}

#[test]
fn foreign_files_are_told_by_inspect() {
    let desk = Desk::new();
    let said = desk.framewise(&["inspect", "--verify", &paddle(2)]).expect(0);
    for words in
        ["pickled arrays (PaddlePaddle)", "42 tensors", "hidden1_fc_weights", "[160, 24]", "framewise import"]
    {
        assert!(said.out.contains(words), "{words}\n{}", said.out);
    }
    let said = desk.framewise(&["inspect", &data("import/arrays_versions.npz")]).expect(0);
    for words in ["arrays (.npz)", "3 tensors", "scope/version2", "notes.txt"] {
        assert!(said.out.contains(words), "{words}\n{}", said.out);
    }
    let mut bytes = std::fs::read(data("import/arrays.npz")).unwrap();
    let place = bytes.windows(4).position(|word| word == (-0.75f32).to_le_bytes()).unwrap();
    bytes[place] ^= 1;
    std::fs::write(desk.path("changed.npz"), bytes).unwrap();
    desk.framewise(&["inspect", "changed.npz"]).expect(0);
    let said = desk.framewise(&["inspect", "--verify", "changed.npz"]).expect(65);
    assert!(said.err.contains("checksum"), "{}", said.err);
}
