//! Tests of what a run says at its end, on the terminal and in its directory.

use serde_json::Value;

use crate::support::child::{end, send, training};
use crate::support::cli::{Desk, copy_graph, data, graph, vowels_graph};
use crate::support::records::Records;
use crate::support::run::vowels;
use crate::support::trained::{quickstart, trained};

/// Runs a command whose text is laid out for this number of columns.
fn at(desk: &Desk, columns: &str, args: &[&str]) -> String {
    let output = desk.command(args).env("COLUMNS", columns).output().unwrap();
    crate::support::cli::Said::of(output).expect(0).out
}

/// A text without its line ends.
fn in_a_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The lines of a text that are longer than `columns` and have a space in them, at which they could be broken.
fn too_long(text: &str, columns: usize) -> Vec<&str> {
    text.lines().filter(|line| line.chars().count() > columns && line.trim().contains(' ')).collect()
}

#[test]
fn the_text_fits_80_and_40_columns() {
    let desk = Desk::new();
    let train = [
        "run",
        "-q",
        &graph("quickstart.toml"),
        "--set",
        "stages.videos.epochs=2",
        "--set",
        "stages.evaluate.every_epochs=1",
        "--set",
        "stages.checkpoint.every_epochs=1",
    ];
    let wide = at(&desk, "80", &train);
    assert_eq!(too_long(&wide, 80), [""; 0], "{wide}");
    for words in [
        "waiting in",
        "done in ",
        ", 18 steps, 540 examples\n",
        "run directory    runs/quickstart-1\n",
        "last checkpoint  runs/quickstart-1/checkpoints/step-00000018\n",
        "best checkpoint  runs/quickstart-1/checkpoints/step-0000",
    ] {
        assert!(wide.contains(words), "{words}\n{wide}");
    }
    let narrow = at(&desk, "40", &train);
    assert_eq!(too_long(&narrow, 40), [""; 0], "{narrow}");
    assert!(narrow.contains("last checkpoint\n  runs/quickstart-2/checkpoints/step-00000018\n"), "{narrow}");
    // Every stage keeps its line, and the table its most telling column.
    for stage in ["videos ", "all_reduce ", "checkpoint ", "stage "] {
        assert_eq!(narrow.lines().filter(|line| line.starts_with(stage)).count(), 1, "{stage}\n{narrow}");
    }
    assert!(narrow.contains("busy") && !narrow.contains("tfrecord_reader"), "{narrow}");
    // A width that nobody has is not believed.
    for columns in ["", "0", "wide"] {
        assert_eq!(
            too_long(
                &at(
                    &desk,
                    columns,
                    &["run", "-q", &graph("synthesize.toml"), "--set", "stages.videos.videos=2"]
                ),
                80
            ),
            [""; 0]
        );
    }
}

#[test]
fn the_best_checkpoint_stands_beside_the_last_with_its_step_and_value() {
    let desk = Desk::new();
    // The learning rate of the second epoch destroys what the first has learnt.
    let said = quickstart(
        &desk,
        &[
            "--run-dir",
            "run",
            "--set",
            "stages.videos.epochs=3",
            "--set",
            "stages.evaluate.every_epochs=1",
            "--set",
            "stages.checkpoint.every_epochs=1",
            "--set",
            "stages.checkpoint.best=loss",
            "--set",
            "stages.checkpoint.best_is=lowest",
        ],
    )
    .expect(0);
    let metrics = desk.read("run/metrics.jsonl");
    let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let measured = lines.filter(|line| line["kind"] == "evaluation");
    let best =
        measured.min_by(|a, b| a["loss"].as_f64().unwrap().total_cmp(&b["loss"].as_f64().unwrap())).unwrap();
    let (step, loss) = (best["step"].as_u64().unwrap(), best["loss"].as_f64().unwrap());
    let told = format!(
        "best checkpoint  run/checkpoints/step-{step:08}\n                 step {step}, loss {loss:.6}\n"
    );
    assert!(said.out.contains(&told), "{told}\n{}", said.out);

    let result: Value = serde_json::from_str(&desk.read("run/results.json")).unwrap();
    let kept = &result["checkpoints"];
    assert_eq!((&kept["last"]["step"], &kept["best"]["step"]), (&27.into(), &step.into()));
    assert_eq!((&kept["best"]["metric"], &kept["best"]["value"]), (&"loss".into(), &loss.into()));
    assert_eq!(kept["best"]["path"], format!("run/checkpoints/step-{step:08}"));
}

#[test]
fn videos_that_were_left_out_are_told_in_sentences_and_counted() {
    let desk = Desk::new();
    let said = quickstart(
        &desk,
        &["--run-dir", "dropped", "--set", "stages.videos.epochs=2", "--set", "stages.batch.size=200"],
    )
    .expect(0);
    let sentence = "`batch` dropped 70 of 270 videos of each epoch because `drop_last = true`; set it to false to use them";
    assert!(in_a_line(&said.out).contains(sentence), "{}", said.out);
    let result: Value = serde_json::from_str(&desk.read("dropped/results.json")).unwrap();
    let batch = result["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "batch").unwrap();
    assert_eq!(batch["counts"], serde_json::json!({"dropped_by_drop_last": 140}));

    desk.write("copy.toml", &vowels_graph());
    let longer = vowels("train").iter().filter(|video| video.frames > 15).count();
    assert!(longer > 1 && longer < 270);
    let (said, result) = desk.run_json(&["copy.toml", "--set", "stages.decode.max_frames=15"]);
    said.expect(0);
    assert_eq!(result["stages"][1]["counts"]["cut_to_max_frames"], longer);
    let said = desk.framewise(&["run", "copy.toml", "--set", "stages.decode.max_frames=15"]).expect(0);
    let sentence = format!("`decode` cut {longer} of 270 videos to their first 15 frames; ");
    assert!(in_a_line(&said.out).contains(&sentence), "{sentence}\n{}", said.out);

    let path = desk.path("some.tfrecord");
    Records::frame_level(5).labels(|video| if video < 2 { vec![] } else { vec![1] }).write(&path);
    desk.write("some.toml", &copy_graph(&path.display().to_string(), 16, 4, 10));
    let said = desk.framewise(&["run", "some.toml"]).expect(0);
    assert!(in_a_line(&said.out).contains("`decode` found no labels in 2 of 5 videos; "), "{}", said.out);
    // Nothing is told where there is nothing to tell.
    let whole = desk.framewise(&["run", "copy.toml"]).expect(0);
    assert!(!whole.out.contains('`') || !whole.out.contains(" of 270 videos"), "{}", whole.out);
}

#[test]
fn rejected_records_are_told_once_however_many_epochs_meet_them() {
    let desk = Desk::new();
    let bad = data("golden/tfrecord/bad_data_crc.tfrecord");
    desk.write("copy.toml", &copy_graph(&bad, 1024, 128, 3862));
    let args =
        ["run", "copy.toml", "--set", "stages.videos.on_error=skip", "--set", "stages.videos.epochs=3"];
    let said = desk.framewise(&args).expect(0);
    let sentence = "`videos` rejected 1 record of each epoch (data_crc 1); rejected.jsonl names it";
    assert!(in_a_line(&said.out).contains(sentence), "{}", said.out);
    let result: Value = serde_json::from_str(&desk.read("runs/copy-1/results.json")).unwrap();
    assert_eq!(result["stages"][0]["rejected"], serde_json::json!({"data_crc": 3}));
}

#[test]
fn every_run_leaves_the_object_that_json_prints() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    let (said, result) = desk.run_json(&["copy.toml"]);
    assert_eq!(desk.read("runs/copy-1/results.json"), said.expect(0).out);
    assert_eq!(result["status"], "ok");

    desk.framewise(&["run", "-q", "copy.toml"]).expect(0);
    let text: Value = serde_json::from_str(&desk.read("runs/copy-2/results.json")).unwrap();
    assert_eq!((&text["status"], &text["run_dir"]), (&"ok".into(), &"runs/copy-2".into()));

    desk.write("bad.toml", &copy_graph(&data("golden/tfrecord/bad_data_crc.tfrecord"), 1024, 128, 3862));
    desk.framewise(&["run", "bad.toml"]).expect(65);
    let failed: Value = serde_json::from_str(&desk.read("runs/bad-1/results.json")).unwrap();
    assert_eq!((&failed["status"], &failed["error"]["exit_code"]), (&"failed".into(), &65.into()));
    assert!(failed["error"]["message"].as_str().unwrap().contains("data CRC mismatch"), "{failed}");
    assert_eq!(failed["stages"].as_array().unwrap().len(), 3);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_has_a_result_until_it_goes_on() {
    let desk = Desk::new();
    let child = training(&desk, "text");
    send(&child, "-INT");
    end(child).expect(130);
    let result: Value = serde_json::from_str(&desk.read("run/results.json")).unwrap();
    assert_eq!(result["status"], "interrupted");
    assert!(result["checkpoints"]["last"]["step"].as_u64().unwrap() > 0, "{result}");

    // While the run goes on, the old result is not there. It is replaced at the end.
    let desk = trained();
    std::fs::write(desk.path("run/results.json"), "old").unwrap();
    let said = quickstart(
        &desk,
        &[
            "--resume",
            "run",
            "--set",
            "stages.videos.epochs=3",
            "--set",
            "stages.report.every_steps=1",
            "--format",
            "json",
        ],
    )
    .expect(0);
    assert_eq!(desk.read("run/results.json"), said.out);
}

#[test]
fn a_directory_without_a_checkpoint_is_not_said_to_be_resumable() {
    let desk = trained();
    desk.write("copy.toml", &vowels_graph());
    desk.framewise(&["run", "-q", "copy.toml", "--run-dir", "copied"]).expect(0);
    let said = desk.framewise(&["run", "copy.toml", "--run-dir", "copied"]).expect(73);
    assert!(said.err.contains("holds files already") && !said.err.contains("--resume"), "{}", said.err);
    let said = quickstart(&desk, &["--run-dir", "run"]).expect(73);
    assert!(said.err.contains("`--resume run` goes on with the run that is in it"), "{}", said.err);
}

#[test]
fn epochs_count_from_one_and_steps_have_their_marks() {
    let desk = Desk::new();
    let said = quickstart(
        &desk,
        &[
            "--set",
            "stages.videos.epochs=2",
            "--set",
            "stages.report.every_steps=9",
            "--set",
            "stages.evaluate.every_epochs=2",
            "--set",
            "stages.batch.size=30",
        ],
    )
    .expect(0);
    assert!(
        said.err.contains("report: step 9 epoch 1: ") && said.err.contains("report: step 18 epoch 2: "),
        "{}",
        said.err
    );
    assert!(said.err.contains("evaluation after step 18 (epoch 2): "), "{}", said.err);
    assert!(
        said.err.contains(" trainable parameters") && said.err.contains("optimizer: 11,713 "),
        "{}",
        said.err
    );
    let inspected = desk.framewise(&["inspect", "runs/quickstart-1"]).expect(0);
    assert!(inspected.out.contains("at the start of epoch 3"), "{}", inspected.out);
}

#[test]
fn the_log_and_the_result_have_one_clock() {
    let desk = Desk::new();
    let (said, result) = {
        let args = [graph("quickstart.toml"), "--set".into(), "stages.videos.epochs=4".into()];
        desk.run_json(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    said.expect(0);
    let wall = result["wall_seconds"].as_f64().unwrap();
    let log = desk.read("runs/quickstart-1/log.jsonl");
    let seconds: Vec<(f64, String)> = log
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["seconds"].as_f64().unwrap(), line["text"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(seconds[0].0, 0.0, "{log}");
    assert!(seconds.is_sorted_by(|a, b| a.0 <= b.0), "{log}");
    // Everything that the stages said was said within the run, up to the rounding of the log to milliseconds.
    let last = seconds.iter().rfind(|(_, text)| text.starts_with("checkpoint ")).unwrap();
    assert!(last.0 > 0.0 && last.0 <= wall + 0.05, "{last:?} {wall}");
}
