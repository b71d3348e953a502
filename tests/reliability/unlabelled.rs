//! Laws: videos without labels are counted and reported. Without any label, no metric except the loss is defined, and
//! training is refused unless a key allows it.

use crate::support::cli::{Desk, data};
use crate::support::records::Records;
use crate::support::trial;

/// A desk with the trial's graphs for made records, of which those with an odd number have labels if `odd` is set.
fn desk(odd: bool) -> Desk {
    let desk = Desk::new();
    trial::write_graphs(&desk, 1);
    desk.write("data.toml", "rgb_size = 16\naudio_size = 4\nmax_frames = 300\nclasses = 10\n");
    for name in ["train.toml", "eval.toml"] {
        let text = desk.read(name);
        let line = text.lines().find(|line| line.starts_with("data = ")).unwrap().to_owned();
        desk.write(name, &text.replace(&line, "data = \"data.toml\""));
    }
    let labels = move |video: usize| if odd && video % 2 == 1 { vec![video as u32 % 10] } else { vec![] };
    for part in 0..3 {
        Records::frame_level(20).labels(labels).write(&desk.path(&format!("part-{part}.tfrecord")));
    }
    Records::frame_level(20).labels(labels).write(&desk.path("test.tfrecord"));
    desk
}

#[test]
fn a_training_set_without_a_label_is_refused_unless_it_is_allowed() {
    let desk = desk(false);
    let said = desk.framewise(&["run", "train.toml", "--run-dir", "refused"]).expect(65);
    assert!(said.err.contains("none of the 60 videos of epoch 1 has a label"), "{}", said.err);
    assert!(said.err.contains("stages.loss.allow_unlabelled"), "{}", said.err);
    let allow = ["--set", "stages.loss.allow_unlabelled=true"];
    let (said, result) = desk.run_json(&[&["train.toml", "--run-dir", "allowed"], &allow[..]].concat());
    let said = said.expect(0);
    assert!(said.err.contains("60 of the 60 videos of epoch 1 have no labels"), "{}", said.err);
    for metric in ["hit_at_1", "perr", "gap", "map"] {
        assert!(result["results"][metric].is_null(), "{metric}: {result}");
    }
    assert!(result["results"]["loss"].as_f64().is_some_and(f64::is_finite), "{result}");
    assert_eq!(result["results"]["videos_without_labels"], 20.0, "{result}");
    assert!(said.err.contains("gap n/a"), "{}", said.err);
    assert!(!said.err.contains("NaN") && !said.err.contains("-0.0000"), "{}", said.err);
}

#[test]
fn videos_without_labels_are_counted() {
    let desk = desk(true);
    let (said, result) = desk.run_json(&["train.toml", "--run-dir", "run"]);
    let said = said.expect(0);
    assert!(said.err.contains("30 of the 60 videos of epoch 1 have no labels"), "{}", said.err);
    assert_eq!(result["results"]["videos_without_labels"], 10.0, "{result}");
    assert!(result["results"]["gap"].is_f64(), "{result}");
    // Bundled data, in which every video has a label.
    let whole = Desk::new();
    trial::write_graphs(&whole, 1);
    std::fs::copy(data("japanese_vowels/test.tfrecord"), whole.path("test.tfrecord")).unwrap();
    let (said, result) = whole.run_json(&["train.toml", "--run-dir", "run"]);
    assert!(!said.expect(0).err.contains("have no labels"));
    assert!(result["results"]["videos_without_labels"].is_null(), "{result}");
}
