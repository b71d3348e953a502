//! Laws of the video-level stages: records that fit are decoded in their order. Records, edges, weights and keys that
//! do not fit are refused, and the error names both sides.

use std::path::Path;

use framewise_pipeline::graph;
use framewise_stages::registry;
use framewise_stages::tfrecord::{DecodeOptions, ReaderOptions, RecordReader, decode_video};

use crate::support::cli::{Desk, Said, graph};
use crate::support::run::{load, load_path, root, run, run_named, set};

/// Runs a graph that reads `file` with yt8m_video_decode and writes the result to out.tfrecord in `dir`.
fn decode_graph(dir: &Path, file: &str, keys: &str) -> framewise_pipeline::engine::Outcome {
    let file = root().join("tests/data/golden/tfrecord").join(file);
    let text = format!(
        "[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = [\"{}\"]\n\
         [stages.decode]\ntype = \"yt8m_video_decode\"\nfrom = \"videos\"\n{keys}\n\
         [stages.files]\ntype = \"tfrecord_writer\"\nfrom = \"decode\"\npath = \"out.tfrecord\"\n",
        file.display()
    );
    std::fs::create_dir_all(dir).unwrap();
    let path = dir.join("graph.toml");
    std::fs::write(&path, text).unwrap();
    run(&load_path(&path, &[]), dir)
}

#[test]
fn video_level_records_are_decoded_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let read = |path: &Path| {
        let mut reader = RecordReader::open(path, ReaderOptions::default()).unwrap();
        let mut videos = Vec::new();
        while let Some(record) = reader.next() {
            let video = decode_video(&record.unwrap(), &DecodeOptions::default()).unwrap();
            videos.push((video.id, video.labels, video.mean_rgb, video.mean_audio));
        }
        videos
    };
    let golden = read(&root().join("tests/data/golden/tfrecord/video_level.tfrecord"));
    assert_eq!(golden.iter().map(|v| &*v.0).collect::<Vec<_>>(), ["vl00", "vl01", "vl02"]);
    for workers in [1, 3] {
        let dir = dir.path().join(workers.to_string());
        decode_graph(&dir, "video_level.tfrecord", &format!("workers = {workers}"));
        assert!(read(&dir.join("out.tfrecord")) == golden, "{workers} workers");
    }
}

#[test]
fn a_frame_level_record_is_refused_or_skipped_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = decode_graph(dir.path(), "plain.tfrecord", "");
    assert_eq!(outcome.status.error_kind().map(|k| k.exit_code()), Some(65));
    let text = format!("{:?}", outcome.status);
    assert!(text.contains("plain.tfrecord") && text.contains("frame-level record"), "{text}");
    let skipped = dir.path().join("skipped");
    let outcome = decode_graph(&skipped, "plain.tfrecord", "on_error = \"skip\"");
    assert!(outcome.status.error_kind().is_none(), "{:?}", outcome.status);
    let rejected = std::fs::read_to_string(skipped.join("rejected.jsonl")).unwrap();
    assert!(
        rejected.lines().count() > 1 && rejected.lines().all(|l| l.contains("missing_feature")),
        "{rejected}"
    );
}

/// The messages of `render` for a graph that does not fit. Asserts the exit code.
fn refused(name: &str, sets: &[&str]) -> String {
    let graph = graph(name);
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["render", &graph].into_iter().chain(sets).collect();
    Said::of(Desk::new().command(&args).env_remove("YT8M_MODEL").output().unwrap()).expect(78).err
}

#[test]
fn joins_of_the_two_kinds_are_refused_with_both_ends() {
    let (frames, means) =
        ("{rgb u8[frames, 12], audio u8[frames, 12]}", "{mean_rgb f32[12], mean_audio f32[12]}");
    // The cases send video level to NeXtVLAD, send frame level to the logistic model, and pool twice.
    let shown = refused("quickstart-video.toml", &["stages.forward.type=nextvlad_forward"]);
    for part in ["tensor `rgb` is wanted but not sent", "stage `shard` sends this", "stage `forward` wants"] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    assert!(shown.contains(&format!("sent:   batches {means}")), "{shown}");
    assert!(shown.contains(&format!("wanted: batches {frames}")), "{shown}");
    let shown = refused("quickstart.toml", &["stages.forward.type=logistic_forward"]);
    assert!(shown.contains("tensor `mean_rgb` is wanted but not sent"), "{shown}");
    assert!(shown.contains(&format!("sent:   batches {frames}")), "{shown}");
    let shown = refused("quickstart-video.toml", &["stages.decode.type=yt8m_video_decode"]);
    assert!(shown.contains("stage `pool` wants another shape"), "{shown}");
}

#[test]
fn weights_and_keys_of_another_model_are_refused() {
    let mixture = format!("use.model={}", root().join("configs/model/mixture_of_experts.toml").display());
    let shown = refused("quickstart-video.toml", &[&mixture]);
    assert!(shown.contains("tensor `classifier.weight` is wanted but not sent"), "{shown}");
    for (graph, key, model) in [
        ("quickstart-video.toml", "clusters", "logistic"),
        ("quickstart-video.toml", "mixtures", "logistic"),
        ("quickstart.toml", "input_norm", "nextvlad"),
    ] {
        let value = if key == "input_norm" { "none" } else { "4" };
        let shown = refused(graph, &[&format!("stages.optimizer.{key}={value}")]);
        let told = format!("`{key}` of stage `optimizer` has no effect: its `model` is \"{model}\"");
        assert!(shown.contains(&told), "{shown}");
    }

    let dir = tempfile::tempdir().unwrap();
    run_named("quickstart-video.toml", &set(&["stages.batch.max_batches=1"]), dir.path());
    let weights = format!("stages.weights.path={}", dir.path().display());
    let graph = load("quickstart-eval.toml", &[weights]);
    let options = framewise_pipeline::engine::RunOptions::default();
    let error = framewise_pipeline::engine::Pipeline::build(&graph, &framewise_stages::registry(), &options)
        .unwrap_err();
    assert_eq!(error.failure.kind.exit_code(), 65);
    let text = error.to_string();
    let told = "the weights belong to model `logistic`, the graph's model is `nextvlad`";
    assert!(text.contains(told) && text.contains(&dir.path().display().to_string()), "{text}");
}

#[test]
fn an_evaluation_of_another_model_is_refused_with_both_names() {
    let eval = format!("stages.evaluate.graph={}", root().join("graphs/quickstart-eval.toml").display());
    let overrides = [eval, "stages.videos.epochs=1".to_owned(), "stages.evaluate.every_epochs=1".to_owned()];
    let overrides: Vec<graph::Override> = overrides.iter().map(|o| o.parse().unwrap()).collect();
    let loaded = graph::load(&root().join("graphs/quickstart-video.toml"), &registry(), &overrides);
    let text = loaded.unwrap_err().render(false);
    assert!(text.contains("`logistic`") && text.contains("`nextvlad`"), "{text}");
}
