//! Law: a stage counts the videos that it cuts, finds without labels or leaves out of a batch.

use std::collections::BTreeMap;

use framewise_pipeline::engine::Outcome;

use crate::support::cli::{Desk, copy_graph};
use crate::support::records::Records;
use crate::support::run::{load, load_path, root, run, set};

/// The counts of a stage.
fn counts(outcome: &Outcome, stage: &str) -> BTreeMap<&'static str, u64> {
    let stage = outcome.monitor.stages().iter().find(|one| one.name == stage).unwrap();
    stage.meter.read().counts
}

#[test]
fn a_decoder_counts_cut_videos_and_those_without_labels() {
    let desk = Desk::new();
    // The videos have three to six frames in turn. Every third has labels, and the others have none.
    let labels = |video: usize| if video.is_multiple_of(3) { vec![1] } else { vec![] };
    let files = Records::frame_level(10).labels(labels).write(&desk.path("videos.tfrecord"));
    desk.write("copy.toml", &copy_graph(&files, 16, 4, 10));
    for workers in [1, 3] {
        let sets = [
            "stages.decode.max_frames=4".to_owned(),
            "stages.videos.epochs=2".to_owned(),
            format!("stages.decode.workers={workers}"),
        ];
        let outcome = run(&load_path(&desk.path("copy.toml"), &sets), &desk.path(&format!("run-{workers}")));
        // Of the ten videos, numbers 2, 3, 6 and 7 have five or six frames. Each epoch counts them.
        let expected = BTreeMap::from([("cut_to_max_frames", 2 * 4), ("without_labels", 2 * 6)]);
        assert_eq!(counts(&outcome, "decode"), expected);
        assert!(counts(&outcome, "videos").is_empty());
    }
    // A video of exactly `max_frames` frames is not cut.
    let sets = set(&["stages.decode.max_frames=6"]);
    let outcome = run(&load_path(&desk.path("copy.toml"), &sets), &desk.path("whole"));
    assert_eq!(counts(&outcome, "decode"), BTreeMap::from([("without_labels", 6)]));
}

#[test]
fn a_video_level_decoder_counts_videos_without_labels() {
    let desk = Desk::new();
    let labels = |video: usize| if video < 2 { vec![] } else { vec![3] };
    let files = Records::video_level(5).labels(labels).write(&desk.path("videos.tfrecord"));
    let graph = copy_graph(&files, 16, 4, 10).replace("yt8m_decode", "yt8m_video_decode");
    desk.write("copy.toml", &graph);
    let outcome = run(&load_path(&desk.path("copy.toml"), &[]), &desk.path("run"));
    assert_eq!(counts(&outcome, "decode"), BTreeMap::from([("without_labels", 2)]));
}

#[test]
fn drop_last_counts_what_it_drops() {
    let dir = tempfile::tempdir().unwrap();
    let train = root().join("tests/data/japanese_vowels/train.tfrecord");
    let sets = |drop_last: bool| {
        let files = format!("stages.videos.files={}", train.display());
        let drop_last = format!("stages.batch.drop_last={drop_last}");
        let more = set(&["stages.videos.epochs=2", "stages.batch.size=100"]);
        [vec![files, drop_last], more].concat()
    };
    // 270 videos make two batches of 100 and a rest of 70, in each of two epochs.
    let outcome = run(&load("quickstart.toml", &sets(true)), &dir.path().join("dropped"));
    assert_eq!(outcome.results["steps"], 4.0);
    assert_eq!(counts(&outcome, "batch"), BTreeMap::from([("dropped_by_drop_last", 2 * 70)]));
    let outcome = run(&load("quickstart.toml", &sets(false)), &dir.path().join("kept"));
    assert_eq!(outcome.results["steps"], 6.0);
    assert!(counts(&outcome, "batch").is_empty());
}
