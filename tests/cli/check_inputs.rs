//! Laws of the survey: `check --inputs`, and `run` before its first step, name everything outside of a graph that is
//! missing or unfit, each with its place in the graph. A run that is refused so leaves nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cli::{Desk, data, graph_text, names, vowels_graph};
use crate::support::trial::write_graphs;

const TRAIN: &str = "japanese_vowels/train.tfrecord";

/// The graph that copies videos, with this value of `files`.
fn reading(files: &str) -> String {
    vowels_graph().replace(&format!("{:?}", data(TRAIN)), files)
}

/// The errors that `check --inputs` finds in `g.toml`, and its exit code.
fn errors(desk: &Desk, args: &[&str]) -> (Vec<Value>, i32) {
    let said = desk.framewise(&[&["check", "--inputs", "--format", "json", "g.toml"], args].concat());
    let found: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}\n{}", said.err));
    let errors = found["graphs"][0]["errors"].as_array().unwrap().clone();
    (errors, said.code.unwrap())
}

fn message(error: &Value) -> &str {
    error["message"].as_str().unwrap()
}

#[test]
fn every_missing_file_is_named_with_its_place_by_check_and_by_run() {
    let desk = Desk::new();
    let good = data(TRAIN);
    desk.write("list.txt", &format!("# files\n{good}\n\ngone-1.tfrecord\ngone-2.tfrecord\n"));
    desk.write("g.toml", &reading("[\n  \"gone-3.tfrecord\",\n  \"@list.txt\",\n  \"none/x*.tfrecord\",\n]"));
    let (found, code) = errors(&desk, &[]);
    assert_eq!(code, 66);
    let places: Vec<_> = found.iter().map(|e| (e["line"].as_u64(), e["column"].as_u64())).collect();
    assert_eq!(places, [(Some(4), Some(3)), (Some(5), Some(3)), (Some(6), Some(3))], "{found:#?}");
    assert!(message(&found[0]).contains("gone-3.tfrecord: No such file or directory"));
    let lines = found[1]["notes"][0].as_str().unwrap();
    assert!(lines.contains("gone-1.tfrecord (named by line 4 of "), "{lines}");
    assert!(lines.contains("gone-2.tfrecord (named by line 5 of "), "{lines}");
    let hint = found[2]["hints"][0].as_str().unwrap();
    assert!(hint.starts_with("there is no directory ") && hint.ends_with("none"), "{hint}");

    // Without --inputs, nothing outside of the graph counts.
    desk.framewise(&["check", "g.toml"]).expect(0);
    // A run finds the same, and leaves nothing.
    let (said, result) = desk.run_json(&["g.toml", "--run-dir", "run"]);
    let said = said.expect(66);
    assert_eq!(result["error"]["errors"], Value::Array(found));
    assert_eq!((&result["error"]["stage"], &result["error"]["exit_code"]), (&json!("videos"), &json!(66)));
    assert!(said.err.contains("g.toml:4:3") && said.err.contains("3 errors in g.toml"), "{}", said.err);
    assert_eq!(names(&desk.path("")), ["g.toml", "list.txt"]);
}

#[test]
fn what_is_found_is_counted() {
    let desk = Desk::new();
    desk.write("g.toml", &vowels_graph());
    let said = desk.framewise(&["check", "--inputs", "g.toml"]).expect(0);
    let bytes = std::fs::metadata(data(TRAIN)).unwrap().len();
    assert!(said.out.starts_with("g.toml: ok (3 stages, 2 edges, 1 file to read, "), "{}", said.out);
    let said = desk.framewise(&["check", "--inputs", "--format", "json", "g.toml"]).expect(0);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(found["graphs"][0]["inputs"], json!({ "files": 1, "bytes": bytes }));
}

#[test]
fn an_unset_variable_is_named_where_its_default_is_not_there() {
    let desk = Desk::new();
    desk.write("g.toml", &reading("[\"${FRAMEWISE_TEST_DATA:-nowhere/frame}/train*.tfrecord\"]"));
    let (found, code) = errors(&desk, &[]);
    assert_eq!((found.len(), code), (1, 66));
    let hints: Vec<_> = found[0]["hints"].as_array().unwrap().iter().map(|h| h.as_str().unwrap()).collect();
    let wanted = "`FRAMEWISE_TEST_DATA` is not set, so its default `nowhere/frame` counts: \
                  set FRAMEWISE_TEST_DATA to use another path";
    assert!(hints.contains(&wanted), "{hints:?}");
}

#[test]
fn an_empty_list_of_files_is_an_error_of_the_graph() {
    let desk = Desk::new();
    desk.write("g.toml", &reading("[]"));
    let err = desk.framewise(&["check", "g.toml"]).expect(78).err;
    assert!(err.contains("g.toml:3:9") && err.contains("the list names no file"), "{err}");
}

#[test]
fn files_that_are_something_else_are_named_for_what_they_are() {
    let desk = Desk::new();
    std::fs::write(desk.path("w.safetensors"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
    desk.write("table.csv", "epoch,loss\n1,0.5\n2,0.4\n");
    std::fs::create_dir_all(desk.path("checkpoints/step-00000001")).unwrap();
    // An `Event` of TensorBoard begins with field 1, the time, as a double.
    let event = [&[9_u8][..], &1.5_f64.to_le_bytes()].concat();
    let file = std::fs::File::create(desk.path("events.out.tfevents")).unwrap();
    let none = framewise_stages::tfrecord::Compression::None;
    let mut writer = framewise_stages::tfrecord::RecordWriter::new("events", file, none);
    writer.write(&event).unwrap();
    writer.finish().unwrap();
    desk.write(
        "g.toml",
        &reading("[\"w.safetensors\", \"table.csv\", \"events.out.tfevents\", \"checkpoints\"]"),
    );
    let (found, code) = errors(&desk, &[]);
    assert_eq!(code, 65, "the kind of the first error: {found:#?}");
    let wanted = [
        "a file of tensors (safetensors)",
        "a table in text form (CSV)",
        "its first record is an Event of TensorBoard, not a video",
        "checkpoints is not a file",
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (error, wanted) in found.iter().zip(wanted) {
        assert!(message(error).contains(wanted), "{wanted}: {error}");
    }
    assert!(found[3]["hints"][0].as_str().unwrap().contains("the stage type load_weights reads those"));
}

/// The training set has thirty utterances of each speaker, speaker after speaker, and the speaker is the label. So the last
/// four of the first 64 records have label 2.
#[test]
fn labels_outside_the_classes_are_told_before_the_first_step() {
    let desk = Desk::new();
    desk.write("g.toml", &vowels_graph());
    let classes = ["--set", "stages.decode.classes=2"];
    let (found, code) = errors(&desk, &classes);
    assert_eq!((found.len(), code), (1, 65), "{found:#?}");
    let text = message(&found[0]);
    assert!(text.starts_with("stage `decode`: 4 of the first 64 records cannot be used: "), "{text}");
    assert!(text.contains("train.tfrecord: record 60 at byte "), "{text}");
    assert_eq!((&found[0]["file"], &found[0]["line"]), (&json!("--set"), &json!(1)));
    assert_eq!(found[0]["hints"], json!(["the labels of these records need `classes` of at least 3"]));
    // Nothing outside of the graph counts without --inputs, and three classes are enough for what is looked at.
    desk.framewise(&[&["check", "g.toml"], &classes[..]].concat()).expect(0);
    assert_eq!(errors(&desk, &["--set", "stages.decode.classes=3"]), (vec![], 0));
    // A run finds the same before it begins, and a run that skips bad records begins with a warning.
    let said = desk.framewise(&[&["run", "g.toml", "--run-dir", "run"], &classes[..]].concat()).expect(65);
    assert!(said.err.contains("record 60 at byte "), "{}", said.err);
    assert_eq!(names(&desk.path("")), ["g.toml"]);
    let skip = ["--set", "stages.decode.on_error=skip"];
    let said = desk.framewise(&[&["check", "--inputs", "g.toml"], &classes[..], &skip].concat()).expect(0);
    assert!(said.err.contains("warning: stage `decode`: 4 of the first 64 records"), "{}", said.err);
}

/// A graph that measures `weights`, and the data where weights are wanted.
#[test]
fn weights_are_compared_with_the_model_by_their_headers() {
    let desk = Desk::new();
    write_graphs(&desk, 1);
    let said = desk.framewise(&["run", "-q", "train.toml", "--run-dir", "run"]).expect(0);
    assert!(said.out.contains("checkpoint"), "{}", said.out);
    std::fs::copy(desk.path("eval.toml"), desk.path("g.toml")).unwrap();
    assert_eq!(errors(&desk, &[]), (vec![], 0));

    // The names and shapes of all tensors that do not fit are listed, and no tensor is read: one that is damaged passes.
    let (found, code) =
        errors(&desk, &["--set", "stages.weights.hidden=24", "--set", "stages.forward.hidden=24"]);
    assert_eq!((found.len(), code), (1, 65), "{found:#?}");
    assert_eq!(found[0]["file"], "g.toml");
    let notes = found[0]["notes"][0].as_str().unwrap();
    assert!(notes.contains("`hidden.weight`") || notes.lines().count() > 1, "{notes}");
    let (found, code) = errors(&desk, &["--set", "stages.weights.path=part-0.tfrecord"]);
    assert_eq!((found.len(), code), (1, 65));
    assert!(message(&found[0]).contains("a TFRecord file, not weights"), "{found:#?}");
    let (found, code) = errors(&desk, &["--set", "stages.weights.path=nowhere"]);
    assert_eq!((found.len(), code), (1, 66));
    assert_eq!(found[0]["file"], "--set");
}

#[test]
fn the_files_of_an_evaluated_graph_are_shown_where_they_are_named() {
    let desk = Desk::new();
    write_graphs(&desk, 1);
    std::fs::rename(desk.path("train.toml"), desk.path("g.toml")).unwrap();
    std::fs::remove_file(desk.path("test.tfrecord")).unwrap();
    let (found, code) = errors(&desk, &[]);
    assert_eq!((found.len(), code), (1, 66), "{found:#?}");
    assert!(found[0]["file"].as_str().unwrap().ends_with("eval.toml"), "{found:#?}");
    assert!(message(&found[0]).contains("test.tfrecord: No such file or directory"));
    let outer = &found[0]["places"][0];
    assert_eq!(
        (&outer["file"], &outer["label"]),
        (&json!("g.toml"), &json!("stage `evaluate` runs this graph"))
    );
    // Files that the outer graph gives are shown there.
    let (found, _) =
        errors(&desk, &["--set", "stages.evaluate.files=[\"part-0.tfrecord\", \"gone.tfrecord\"]"]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((&found[0]["file"], &found[0]["column"]), (&json!("--set"), &json!(43)), "{found:#?}");
    // An evaluation that never runs needs no files.
    assert_eq!(
        errors(
            &desk,
            &["--set", "stages.evaluate.every_epochs=0", "--set", "stages.checkpoint.best_is=lowest"]
        )
        .1,
        0
    );
}

#[cfg(not(feature = "cuda"))]
#[test]
fn devices_that_are_not_there_are_told_once_for_all_stages() {
    let desk = Desk::new();
    desk.write("cuda.toml", "devices = [\"cuda:0\", \"cpu\", \"cuda:1\"]\n");
    let text = graph_text("quickstart.toml");
    let line = text.lines().find(|line| line.starts_with("devices = ")).unwrap();
    desk.write("g.toml", &text.replace(line, "devices = \"cuda.toml\""));
    let (found, code) = errors(&desk, &[]);
    assert_eq!((found.len(), code), (1, 69), "{found:#?}");
    let stages = "stages `forward`, `all_reduce` and `optimizer`";
    let message = message(&found[0]);
    assert!(message.starts_with(&format!("{stages}: devices `cuda:0` and `cuda:1` are not")), "{message}");
    assert_eq!(
        (&found[0]["file"], &found[0]["line"], &found[0]["column"]),
        (&json!("cuda.toml"), &json!(1), &json!(12))
    );
}

#[test]
fn checkpoints_for_which_there_is_no_room_are_told() {
    let desk = Desk::new();
    write_graphs(&desk, 1);
    std::fs::rename(desk.path("train.toml"), desk.path("g.toml")).unwrap();
    // So many checkpoints fit on no disk.
    let many = ["--set", "stages.checkpoint.keep_last=4000000000"];
    let said = desk.framewise(&[&["check", "--inputs", "g.toml"], &many[..]].concat()).expect(0);
    assert!(said.err.contains("warning: stage `checkpoint`: about "), "{}", said.err);
    assert!(said.err.contains("will be written, and ") && said.err.contains("`keep_last`"), "{}", said.err);
    desk.write("file", "");
    let (found, code) = errors(&desk, &["--set", "stages.checkpoint.path=file/below"]);
    assert_eq!((found.len(), code), (1, 73), "{found:#?}");
    assert!(message(&found[0]).contains("file is not a directory"), "{found:#?}");
}

#[test]
fn an_output_in_a_directory_that_is_not_there_is_refused_before_the_run() {
    let desk = Desk::new();
    desk.write("g.toml", &vowels_graph());
    let (found, code) = errors(&desk, &["--set", "stages.out.path=none/copy.tfrecord"]);
    assert_eq!((found.len(), code), (1, 73), "{found:#?}");
    assert!(message(&found[0]).contains("there is no directory"), "{found:#?}");
}

#[test]
fn ten_thousand_files_are_looked_up_in_a_second() {
    let desk = Desk::new();
    let record = std::fs::read(data(TRAIN)).unwrap();
    std::fs::create_dir(desk.path("many")).unwrap();
    for number in 0..10_000 {
        std::fs::write(desk.path(&format!("many/{number:05}.tfrecord")), &record[..2000]).unwrap();
    }
    desk.write("g.toml", &reading("\"many/*.tfrecord\""));
    let begin = Instant::now();
    let said = desk.framewise(&["check", "--inputs", "g.toml"]).expect(0);
    let took = begin.elapsed();
    assert!(said.out.contains("10,000 files to read, 20.0 MB"), "{}", said.out);
    // A second on a machine that does nothing else; tests share theirs.
    assert!(took < Duration::from_secs(10), "{took:?}");
}
