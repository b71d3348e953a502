//! Law: the message about a bad record, or about a file of another kind, gives the reason and says what to do.

use std::io::Write;

use crate::support::cli::{Desk, copy_graph};
use crate::support::records::{Damage, Records};

/// Runs the copying graph over a file and returns the message of its failure.
fn failure(desk: &Desk, file: &str, change: impl Fn(String) -> String) -> String {
    desk.write("copy.toml", &change(copy_graph(file, 16, 4, 10)));
    let run_dir = format!("run-{}", file.rsplit('/').next().unwrap());
    desk.framewise(&["run", "copy.toml", "--run-dir", &run_dir]).expect(65).err
}

#[track_caller]
fn assert_says(said: &str, wanted: &str) {
    // Without a terminal the program folds no long lines, but a new line may begin anywhere.
    assert!(said.contains(wanted), "{wanted}\n--\n{said}");
}

#[test]
fn a_missing_feature_lists_those_that_are_there() {
    let desk = Desk::new();
    let file = Records::frame_level(3).damage(Damage::Missing(1, "audio")).write(&desk.path("audio"));
    let said = failure(&desk, &file, |graph| graph);
    assert_says(&said, "audio: record 1 at byte ");
    assert_says(
        &said,
        "no feature list \"audio\"; the record has the features id (7 bytes), labels (1 integers), and the feature \
         lists rgb (4 entries, the first of 16 bytes)",
    );
    let file = Records::frame_level(3).damage(Damage::Missing(0, "id")).write(&desk.path("id"));
    let said = failure(&desk, &file, |graph| graph);
    assert_says(
        &said,
        "names the video; the record has the features labels (1 integers), and the feature lists ",
    );
    let file = Records::frame_level(3).damage(Damage::IdNotUtf8(2)).write(&desk.path("utf8"));
    assert_says(
        &failure(&desk, &file, |graph| graph),
        "feature \"id\" is not UTF-8: its bytes are \"\\xff\\xfe\"",
    );
}

#[test]
fn a_record_of_the_other_level_names_the_stage_type_to_use() {
    let desk = Desk::new();
    let file = Records::video_level(2).write(&desk.path("means"));
    let said = failure(&desk, &file, |graph| graph);
    assert_says(&said, "the stage type `yt8m_video_decode` decodes in place of `yt8m_decode`");
    assert_says(&said, "mean_audio (4 floats)");
    let file = Records::frame_level(2).write(&desk.path("frames"));
    let said = failure(&desk, &file, |graph| graph.replace("yt8m_decode", "yt8m_video_decode"));
    assert_says(&said, "the stage type `yt8m_decode` decodes in place of `yt8m_video_decode`");
}

#[test]
fn a_label_outside_the_classes_tells_the_range_and_the_key() {
    let desk = Desk::new();
    let file = Records::frame_level(4).write(&desk.path("labels"));
    let said = failure(&desk, &file, |graph| graph.replace("classes = 10", "classes = 3"));
    assert_says(&said, "record 3 at byte ");
    assert_says(
        &said,
        "label 3 is outside the range 0 to 2 that `classes = 3` allows; if the data have more classes, raise the key \
         `classes`",
    );
}

#[test]
fn files_of_something_else_are_named_by_the_run_and_by_inspect() {
    let desk = Desk::new();
    let event = b"\x09\0\0\0\0\0\0\x59\x40\x1a\x0dbrain.Event:2";
    let mut writer = framewise_stages::tfrecord::RecordWriter::new(
        "memory",
        Vec::new(),
        framewise_stages::tfrecord::Compression::None,
    );
    writer.write(event).unwrap();
    let events = writer.finish().unwrap();
    let payload = &Records::frame_level(1).bytes()[12..];
    let bare = payload[..payload.len() - 4].to_vec();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("page.tfrecord", b"<html><body>404 Not Found</body></html>\n".to_vec(), "an HTML page"),
        (
            "pointer.tfrecord",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n".to_vec(),
            "a Git LFS pointer, which stands for a file that was not fetched; fetch the file with `git lfs pull`",
        ),
        ("bare.tfrecord", bare, "a single tf.train.SequenceExample without the framing of a TFRecord"),
        ("xz.tfrecord", b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\x02\0".to_vec(), "an xz file; unpack it first"),
        ("events.tfrecord", events, "an Event of TensorBoard"),
        ("noise.tfrecord", vec![0xaa; 100], "it begins with the bytes aa aa aa aa"),
    ];
    for (name, bytes, told) in cases {
        std::fs::write(desk.path(name), bytes).unwrap();
        assert_says(&failure(&desk, name, |graph| graph), told);
        let said = desk.framewise(&["inspect", "--verify", name]).expect(65);
        assert_says(&format!("{}{}", said.out, said.err), told);
    }
    // A compressed file of another kind is looked into.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"id,label\nab,3\ncd,4\n").unwrap();
    std::fs::write(desk.path("table.gz"), encoder.finish().unwrap()).unwrap();
    assert_says(
        &failure(&desk, "table.gz", |graph| graph),
        "the gzip stream holds a table in text form (CSV)",
    );
}

#[test]
fn a_bad_record_of_every_epoch_counts_once_for_max_rejected() {
    let desk = Desk::new();
    let bad = Records::frame_level(6).damage(Damage::DataCrc(1)).damage(Damage::IdNotUtf8(3));
    let file = bad.write(&desk.path("bad.tfrecord"));
    desk.write("copy.toml", &copy_graph(&file, 16, 4, 10));
    let run = |name: &str, limit: u64| {
        let sets = [
            "stages.videos.on_error=skip".to_owned(),
            "stages.decode.on_error=skip".to_owned(),
            "stages.videos.epochs=5".to_owned(),
            format!("stages.videos.max_rejected={limit}"),
            format!("stages.decode.max_rejected={limit}"),
        ];
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        desk.run_json(&[&["copy.toml", "--run-dir", name], &sets[..]].concat())
    };
    let (said, result) = run("one", 1);
    said.expect(0);
    let rejected: Vec<_> =
        result["stages"].as_array().unwrap().iter().map(|s| s["rejected"].clone()).collect();
    // The count under a reason is the number of times that such records were met. Each record has one line.
    assert_eq!(rejected[0], serde_json::json!({"data_crc": 5}));
    assert_eq!(rejected[1], serde_json::json!({"id_not_utf8": 5}));
    assert_eq!(desk.read("one/rejected.jsonl").lines().count(), 2);
    run("none", 0).0.expect(65);
}
