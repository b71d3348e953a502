//! Laws: a run that has nothing to do is an error, which comes at once and says which numbers meet. Whatever the graph, no
//! two stages wait for each other because nothing came. A run that waits for data ends at the first signal.
#![cfg(target_os = "linux")]

use std::process::Child;
use std::time::Duration;

use crate::support::child::{end_within, send, start, wait_until};
use crate::support::cli::{Desk, Said, graph, graph_text};
use crate::support::files::make_pipe;
use crate::support::records::{Damage, Records};
use crate::support::run::root;

/// More than any of these runs needs on a busy machine, and far less than a stall takes to be told.
const LIMIT: Duration = Duration::from_secs(60);

/// The videos of a batch in these tests.
const BATCH: usize = 8;

/// A desk with a copy of every graph of the repository, for a tiny model and the sizes of made records.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("data.toml", "rgb_size = 16\naudio_size = 4\nmax_frames = 300\nclasses = 10\n");
    desk.write("video-data.toml", "rgb_size = 16\naudio_size = 4\nclasses = 10\n");
    desk.write(
        "small.toml",
        "clusters = 4\naudio_clusters = 4\ngroups = 2\naudio_groups = 2\nhidden = 16\nexpansion = 2\n\
         gating_reduction = 4\ndrop_rate = 0.5\n",
    );
    let (here, configs) = (desk.path(""), root().join("configs"));
    let (here, configs) = (here.display(), configs.display());
    for entry in std::fs::read_dir(root().join("graphs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let mut text = graph_text(&name);
        for (old, new) in [
            ("data/youtube8m", "data"),
            ("data/youtube8m-video", "video-data"),
            ("data/japanese-vowels", "data"),
            ("model/nextvlad-paddle", "small"),
            ("model/nextvlad-small", "small"),
        ] {
            text = text.replace(&format!("{configs}/{old}.toml"), &format!("{here}{new}.toml"));
        }
        text = text.replace("cuda-4.toml", "cpu.toml");
        text = text.replace(&format!("graph = \"{}/graphs/", root().display()), "graph = \"");
        desk.write(&name, &text);
    }
    for (name, records) in [("frames", Records::frame_level(20)), ("means", Records::video_level(20))] {
        records.write(&desk.path(&format!("{name}.tfrecord")));
    }
    desk
}

/// Runs a graph of the desk on these files. The run must end by itself within [`LIMIT`].
#[track_caller]
fn run(desk: &Desk, name: &str, files: &str, run_dir: &str, more: &[&str]) -> Said {
    let text = desk.read(name);
    let mut sets = vec![format!("stages.videos.files={}", desk.path(files).display())];
    if text.contains("[stages.batch]") {
        sets.push(format!("stages.batch.size={BATCH}"));
    }
    if text.contains("[stages.evaluate]") {
        let good = if name.contains("train-video") { "means" } else { "frames" };
        sets.push(format!("stages.evaluate.files={}", desk.path(&format!("{good}.tfrecord")).display()));
        sets.push("stages.evaluate.every_epochs=1".to_owned());
    }
    let mut args = vec!["run", name, "--run-dir", run_dir];
    args.extend(sets.iter().flat_map(|set| ["--set", set.as_str()]));
    args.extend(more.iter().flat_map(|set| ["--set", *set]));
    end_within(LIMIT, start(desk, &args))
}

/// The file name of the records that a graph reads: frame-level or video-level ones.
fn level(name: &str) -> &'static str {
    if matches!(name, "train-video.toml" | "eval-video.toml" | "predict-video.toml") {
        "means"
    } else {
        "frames"
    }
}

#[test]
fn every_graph_ends_by_itself_with_no_record_with_one_and_with_one_less_than_a_batch() {
    let desk = desk();
    for level in ["frames", "means"] {
        for (name, records) in [
            ("empty", records(level, 0)),
            ("empty-gzip", records(level, 0).gzip()),
            ("one", records(level, 1)),
            ("less", records(level, BATCH - 1)),
        ] {
            records.write(&desk.path(&format!("{name}-{level}.tfrecord")));
        }
    }
    let mut names: Vec<_> = crate::support::cli::names(&root().join("graphs"));
    names.retain(|name| name != "synthesize.toml");
    // Training comes first, because evaluation and prediction take the weights from it.
    names.sort_by_key(|name| (name.contains("eval") || name.contains("predict"), name.clone()));
    assert!(names.len() >= 13, "{names:?}");
    for (name, trains) in names.iter().map(|name| (name, desk.read(name).contains("\"optimizer\""))) {
        let files = |kind: &str| format!("{kind}-{}.tfrecord", level(name));
        let weights = match () {
            () if trains || name == "mean-pool.toml" => None,
            () if name.starts_with("quickstart-video") => Some("quickstart-video"),
            () if name.contains("video") => Some("train-video"),
            () => Some("train"),
        };
        let weights = weights.map(|run| format!("stages.weights.path={}", desk.path(run).display()));
        let more: Vec<&str> = weights.iter().map(String::as_str).collect();
        for kind in ["empty", "empty-gzip"] {
            let said = run(&desk, name, &files(kind), &format!("{kind}-{name}"), &more).expect(65);
            assert!(said.err.contains("there is no record to read in"), "{name}: {}", said.err);
            assert!(said.err.contains(&files(kind)), "{name}: {}", said.err);
        }
        let drops = desk.read(name).contains("drop_last = true");
        for (kind, count) in [("one", "1 video makes"), ("less", "7 videos make")] {
            let said = run(&desk, name, &files(kind), &format!("{kind}-{name}"), &more);
            let said = said.expect(if drops { 78 } else { 0 });
            let reason = format!(
                "epoch 1: {count} no batch of 8 with drop_last = true: lower stages.batch.size, or set \
                 stages.batch.drop_last to false"
            );
            assert_eq!(said.err.contains(&reason), drops, "{name}: {}", said.err);
        }
        if trains {
            let good = format!("{}.tfrecord", level(name));
            let run_dir = name.trim_end_matches(".toml");
            run(&desk, name, &good, run_dir, &["stages.videos.epochs=1"]).expect(0);
        }
    }
}

#[test]
fn made_up_videos_may_be_few() {
    let desk = desk();
    for videos in ["1", "7"] {
        let videos = format!("stages.videos.videos={videos}");
        let args = ["run", "synthesize.toml", "--run-dir", &videos, "--set", &videos];
        end_within(LIMIT, start(&desk, &args)).expect(0);
    }
    let none = ["run", "synthesize.toml", "--set", "stages.videos.videos=0"];
    let said = end_within(LIMIT, start(&desk, &none)).expect(78);
    assert!(said.err.contains("`videos`") && said.err.contains("--set:1:"), "{}", said.err);
}

fn records(level: &str, videos: usize) -> Records {
    if level == "means" { Records::video_level(videos) } else { Records::frame_level(videos) }
}

#[test]
fn records_that_are_all_rejected_are_no_epoch() {
    let desk = desk();
    let damaged = (0..3).fold(Records::frame_level(3), |records, n| records.damage(Damage::DataCrc(n)));
    damaged.write(&desk.path("damaged.tfrecord"));
    let sets = ["stages.videos.on_error=skip", "stages.decode.on_error=skip", "stages.videos.epochs=200"];
    let said = run(&desk, "train.toml", "damaged.tfrecord", "damaged", &sets).expect(65);
    assert!(said.err.contains("all 3 records in ") && said.err.contains("were rejected"), "{}", said.err);
    let strange =
        (0..3).fold(Records::frame_level(3), |records, n| records.damage(Damage::Missing(n, "rgb")));
    strange.write(&desk.path("strange.tfrecord"));
    let said = run(&desk, "train.toml", "strange.tfrecord", "strange", &sets).expect(65);
    assert!(said.err.contains("epoch 1: no video came, so there is no batch to make"), "{}", said.err);
}

#[test]
fn a_batch_larger_than_the_data_is_told_at_once_however_many_epochs_there_are() {
    let desk = Desk::new();
    for epochs in ["1", "60"] {
        let epochs_key = format!("stages.videos.epochs={epochs}");
        let path = graph("quickstart.toml");
        let args =
            ["run", &path, "--run-dir", epochs, "--set", "stages.batch.size=300", "--set", &epochs_key];
        let said = end_within(LIMIT, start(&desk, &args)).expect(78);
        assert!(said.err.contains("270 videos make no batch of 300 with drop_last = true"), "{}", said.err);
    }
}

#[test]
fn the_first_signal_ends_a_run_that_waits_for_data_that_never_come() {
    let desk = desk();
    make_pipe(&desk.path("pipe.tfrecord"));
    let files = format!("stages.videos.files={}", desk.path("pipe.tfrecord").display());
    let evaluated = format!("stages.evaluate.files={}", desk.path("frames.tfrecord").display());
    for (name, run, more) in
        [("train.toml", "training", &["--set", evaluated.as_str()][..]), ("mean-pool.toml", "copying", &[])]
    {
        let args = ["run", name, "--run-dir", run, "--set", &files, "--set", "stages.videos.epochs=1"];
        let child = start(&desk, &[&args[..], more].concat());
        wait_until("the reader", || has_thread(&child, "videos"));
        // The reader only has to open the pipe.
        std::thread::sleep(Duration::from_millis(300));
        send(&child, "-TERM");
        let said = end_within(Duration::from_secs(20), child).expect(130);
        assert!(said.err.contains("videos: hangs and is left behind"), "{}", said.err);
    }
}

/// Whether the process has a thread of this name.
fn has_thread(child: &Child, name: &str) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", child.id())) else { return false };
    let name_of = |thread: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(thread.ok()?.path().join("comm")).ok()
    };
    threads.filter_map(name_of).any(|found| found.trim_end() == name)
}
