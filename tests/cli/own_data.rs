//! The page on data of one's own: its commands work as they are written, and its outputs are those of the program.
#![cfg(unix)]

use std::fs;
use std::process::{Command, Stdio};

use crate::support::cli::{Desk, Said, data};
use crate::support::records::{Damage, Records};
use crate::support::run::root;

/// The blocks of code of a page in this language, in their order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_commands_of_the_page_work() {
    let desk = Desk::new();
    let page = fs::read_to_string(root().join("docs/own-data.md")).unwrap();
    let commands = blocks(&page, "sh");
    assert!(commands.len() >= 6, "{commands:?}");
    // The page calls the program by its name.
    let bin = desk.path("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_framewise"), bin.join("framewise")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let script = commands.concat();
    let mut shell = Command::new("bash");
    shell.args(["-euxc", &script]).env("PATH", path).current_dir(desk.path(".")).stdin(Stdio::null());
    let said = Said::of(shell.output().unwrap()).expect(0);

    let configured = blocks(&page, "toml");
    assert_eq!(desk.read("gestures/configs/data.toml"), configured[0]);
    assert!(
        said.out.contains("2 files, 120 records") && said.out.contains("no record is bad"),
        "{}",
        said.out
    );
    // The classes of the made-up videos lie far apart, so a model that trains at all finds them.
    let result: serde_json::Value =
        serde_json::from_str(&desk.read("gestures/runs/eval-1/results.json")).unwrap();
    assert!(result["results"]["hit_at_1"].as_f64().unwrap() > 0.9, "{result}");
    let csv = desk.read("gestures/runs/predict-1/predictions.csv");
    assert_eq!((csv.lines().count(), csv.lines().nth(1).unwrap().split(',').next()), (31, Some("video-2-0")));
}

#[test]
fn a_configuration_says_what_the_records_have_and_is_read_back() {
    let desk = Desk::new();
    let said = desk.framewise(&["inspect", "--as-config", &data("japanese_vowels")]).expect(0);
    let table: toml::Table = said.out.parse().unwrap();
    // The data set is described in its README: 640 utterances of nine speakers, of 7 to 29 frames of 12 values.
    let expected: toml::Table =
        "rgb_size = 12\naudio_size = 12\nmax_frames = 29\nclasses = 9\n".parse().unwrap();
    assert_eq!(table, expected);
    assert!(said.out.contains("640 records at frame level, in 2 files"), "{}", said.out);
    assert!(said.out.contains("labels go from 0 to 8; all 9 classes are seen"), "{}", said.out);

    // Video level, gaps in the labels, and a bad record that does not count.
    let means = desk.path("means.tfrecord");
    Records::video_level(4)
        .labels(|video| vec![[1, 4, 4, 9][video]])
        .damage(Damage::Missing(3, "mean_rgb"))
        .write(&means);
    let said = desk.framewise(&["inspect", "--as-config", "means.tfrecord"]).expect(0);
    let expected = "# 3 records at video level, in 1 file.\n\
        # The features are `mean_rgb` (16 floats) and `mean_audio` (4 floats).\n\
        # Bad records, which do not count here: 1.\n\
        rgb_size = 16\naudio_size = 4\n\
        # The labels go from 1 to 4; no record has class 0, 2, 3.\nclasses = 5\n";
    assert_eq!(said.out, expected);

    // Nobody has labelled these.
    Records::frame_level(2).labels(|_| vec![]).write(&desk.path("new.tfrecord"));
    let said = desk.framewise(&["inspect", "--as-config", "new.tfrecord"]).expect(0);
    assert!(said.out.contains("No record has a label") && !said.out.contains("\nclasses"), "{}", said.out);
    let _: toml::Table = said.out.parse().unwrap();

    let both = ["inspect", "--as-config", "new.tfrecord", "means.tfrecord"];
    let said = desk.framewise(&both).expect(65);
    let text = "means.tfrecord: records at video level with rgb 16, audio 4, but new.tfrecord: records at frame level";
    assert!(said.err.contains(text) && said.out.is_empty(), "{}", said.err);
    let said = desk.framewise(&["inspect", "--as-config", &data("golden/small.safetensors")]).expect(65);
    assert!(said.err.contains("not records"), "{}", said.err);
    desk.write("empty.tfrecord", "");
    let said = desk.framewise(&["inspect", "--as-config", "empty.tfrecord"]).expect(65);
    assert!(said.err.contains("no record tells its sizes"), "{}", said.err);
    desk.framewise(&["inspect", "--as-config", "--verify", "new.tfrecord"]).expect(64);
}
