//! Law: a run that was interrupted after any step and was resumed is the same as one that was not. It has the same
//! bytes of weights and moments, and the same manifests, numbers and log, whatever the capacities, workers and devices
//! of the resumed run.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use framewise_pipeline::engine::{Outcome, RunError, Status};
use framewise_stages::store;
use framewise_stages::tfrecord::Compression;
use tfrecord::protobuf::event::What;
use tfrecord::{Event, RecordIter, RecordReaderConfig};

use crate::support::cli::graph_text;
use crate::support::records::{pack, pack_zstd};
use crate::support::resume::{
    Bench, EPOCHS, FILES, Interruption, PER_FILE, STEPS, damage, done, payloads, rejected, results, write,
};
use crate::support::run::root;

#[test]
fn interrupted_after_any_step_and_resumed_equals_uninterrupted() {
    let bench = Bench::new(&[]);
    let whole = bench.start("whole", &[]);
    assert_eq!(whole.results["steps"], STEPS as f64);
    assert_eq!(store::list(&bench.run_dir("whole/checkpoints")).unwrap().len() as u64, EPOCHS);
    for step in 1..=STEPS {
        let name = format!("interrupted-{step}");
        let first = bench.start(&name, &[&format!("stages.batch.max_batches={step}")]);
        assert_eq!(first.results["steps"], step as f64);
        let second = bench.resume(&name, &[]);
        assert_eq!(results(&second), results(&whole), "after step {step}");
        bench.assert_same("whole", &name, &format!("after step {step}"));
    }
}

#[test]
fn a_checkpoint_of_any_step_leads_to_the_same_end() {
    // Unlike above, every step's checkpoint was written while training continued, and before its epoch's mark. The log
    // also has lines of later steps, as after a crash.
    let bench = Bench::new(&["stages.checkpoint.every_steps=1", "stages.evaluate.every_epochs=2"]);
    let whole = bench.start("whole", &[]);
    for step in [1, 3, 4, 5, 8, 11, 12] {
        let name = format!("after-{step}");
        bench.copy("whole", &name);
        for later in step + 1..=STEPS {
            let path = bench.run_dir(&name).join(format!("checkpoints/step-{later:08}"));
            fs::remove_dir_all(path).unwrap();
        }
        let log = bench.run_dir(&name).join("metrics.jsonl");
        let cut = fs::read_to_string(&log).unwrap() + "{\"kind\":\"train\",\"st";
        fs::write(&log, cut).unwrap();
        assert_eq!(results(&bench.resume(&name, &[])), results(&whole), "after step {step}");
        bench.assert_same("whole", &name, &format!("after step {step}"));
    }
}

/// The steps at which the run was resumed, according to the event files in a folder of its directory.
fn starts(run_dir: &Path, folder: &str) -> Vec<i64> {
    let files = fs::read_dir(run_dir.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let events = files.flat_map(|path| {
        RecordIter::<Event, _>::open(path, RecordReaderConfig { check_integrity: true }).unwrap()
    });
    let steps = events.map(Result::unwrap).filter(|event| matches!(event.what, Some(What::SessionLog(_))));
    steps.map(|event| event.step).collect()
}

#[test]
fn a_complete_run_resumes_to_a_clean_end_and_changes_nothing() {
    let bench = Bench::new(&["stages.videos.epochs=1"]);
    let whole = bench.start("whole", &[]);
    bench.copy("whole", "again");
    let modified = |name: &str| {
        let path = bench.run_dir(name).join("checkpoints/step-00000004/manifest.json");
        fs::metadata(path).unwrap().modified().unwrap()
    };
    let before = modified("again");
    let again = bench.resume("again", &[]);
    assert_eq!(results(&again), results(&whole));
    bench.assert_same("whole", "again", "again");
    assert_eq!(modified("again"), before, "the checkpoint was written anew");
    // Further epochs begin where the first ones ended.
    let longer = bench.start("longer", &["stages.videos.epochs=2"]);
    assert_eq!(results(&bench.resume("again", &["stages.videos.epochs=2"])), results(&longer));
    bench.assert_same("longer", "again", "longer");
    // Each file of events tells TensorBoard where the run was resumed.
    for folder in ["train", "eval"] {
        assert_eq!(starts(&bench.run_dir("again"), folder), [5, 5], "{folder}");
    }
}

fn texts(overrides: &[String]) -> Vec<&str> {
    overrides.iter().map(String::as_str).collect()
}

#[test]
fn twice_in_a_row_with_other_workers_capacities_and_devices() {
    let bench = Bench::new(&["stages.shard.shards=4"]);
    let whole = bench.start("whole", &[]);
    let settings = |capacity: u64, workers: u64, devices: &str| {
        let stages =
            ["videos", "decode", "shuffle", "batch", "shard", "forward", "loss", "optimizer", "evaluate"];
        let mut set: Vec<_> = stages.map(|stage| format!("stages.{stage}.capacity={capacity}")).to_vec();
        set.extend(["videos", "decode"].map(|stage| format!("stages.{stage}.workers={workers}")));
        set.extend(
            ["forward", "all_reduce", "optimizer"].map(|stage| format!("stages.{stage}.devices={devices}")),
        );
        set
    };
    let one = settings(8, 4, r#"["cpu"]"#);
    let two = settings(1, 1, r#"["cpu", "cpu"]"#);
    let four = settings(3, 2, r#"["cpu", "cpu", "cpu", "cpu"]"#);
    let until = |set: &[String], last: u64| [set, &[format!("stages.batch.max_batches={last}")]].concat();
    for (first, second) in [(3, 6), (2, 3), (4, 8), (7, 10)] {
        let name = format!("twice-{first}-{second}");
        bench.start(&name, &texts(&until(&two, first)));
        bench.resume(&name, &texts(&until(&four, second)));
        let last = bench.resume(&name, &texts(&one));
        assert_eq!(results(&last), results(&whole), "{name}");
        bench.assert_same("whole", &name, &name);
    }
}

#[test]
fn a_request_to_finish_or_a_crash_at_any_moment_loses_nothing() {
    let bench = Bench::new(&["stages.checkpoint.every_steps=2"]);
    let whole = bench.start("whole", &[]);
    // With channels of one state, the checkpoint of step 2 is there by the seventh report.
    for (at, hard) in [(7, true), (9, true), (3, false), (8, false)] {
        let name = format!("stopped-{at}");
        let interruption = Interruption { at: Some(at), hard, ..Interruption::default() };
        let first = bench.attempt(&name, false, &[], Arc::new(interruption)).unwrap();
        assert!(matches!(first.status, Status::Stopped | Status::FinishedEarly), "{:?}", first.status);
        assert!(first.results["steps"] >= at as f64);
        assert_eq!(results(&bench.resume(&name, &[])), results(&whole), "{name}");
        bench.assert_same("whole", &name, &name);
    }
}

#[test]
fn rejected_records_are_rejected_again_without_being_read() {
    type Packing = fn(&[u8]) -> Vec<u8>;
    let packings: [Packing; 3] = [<[u8]>::to_vec, pack, pack_zstd];
    for packing in packings {
        let bench = Bench::new(&[
            "stages.videos.on_error=skip",
            "stages.decode.on_error=skip",
            "stages.videos.epochs=2",
            "stages.videos.max_record_bytes=100000",
        ]);
        let mut payloads = payloads();
        payloads.truncate(FILES * PER_FILE);
        payloads[30] = vec![0; 100_001];
        for bad in [0, 5, 23, 40, 65] {
            payloads[bad] = b"\xff\xff no protobuf message".to_vec();
        }
        for (file, payloads) in payloads.chunks(PER_FILE).enumerate() {
            let path = bench.file(file);
            write(&path, payloads, Compression::None);
            if file < 2 {
                damage(&path, 3);
                damage(&path, 21);
            } else {
                // The last file ends within a record.
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() - 700]).unwrap();
            }
            fs::write(&path, packing(&fs::read(&path).unwrap())).unwrap();
        }
        let whole = bench.start("whole", &[]);
        let steps = whole.results["steps"] as u64;
        assert_eq!(steps, 6, "three steps of an epoch: 55 or so good videos");
        let lines = |name: &str| {
            let text = fs::read_to_string(bench.run_dir(name).join("rejected.jsonl")).unwrap();
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let expected = lines("whole");
        assert!(expected.len() >= 10, "{expected:#?}");
        assert!(expected.iter().any(|line| line.contains("too_long")), "{expected:#?}");
        let counts: u64 = rejected(&whole).iter().flat_map(|(_, reasons)| reasons.values()).sum();
        assert_eq!(counts, 2 * expected.len() as u64, "a count each epoch, a line each record");
        for step in 1..=steps {
            let name = format!("after-{step}");
            bench.start(&name, &[&format!("stages.batch.max_batches={step}")]);
            let second = bench.resume(&name, &[]);
            assert_eq!(results(&second), results(&whole), "{name}");
            assert_eq!(rejected(&second), rejected(&whole), "{name}");
            assert_eq!(lines(&name), expected, "{name}");
            bench.assert_same("whole", &name, &name);
        }
        // The limit holds for the whole run. A record counts once, although two epochs meet it.
        let of_videos = rejected(&whole)[0].1.values().sum::<u64>() / 2;
        let set = format!("stages.videos.max_rejected={of_videos}");
        bench.start("limited", &[&set]);
        bench.start("limit", &["stages.batch.max_batches=4"]);
        let limit = |limit: u64| {
            bench.copy("limit", &format!("limit-{limit}"));
            let set = format!("stages.videos.max_rejected={limit}");
            bench.attempt(&format!("limit-{limit}"), true, &[&set], Arc::default()).unwrap().status
        };
        assert!(matches!(limit(of_videos), Status::Done));
        assert_eq!(limit(of_videos - 1).error_kind().map(|kind| kind.exit_code()), Some(65));
    }
}

/// The quickstart graph with a synthetic source in place of reader and decoder.
fn synthetic() -> String {
    let text = graph_text("quickstart.toml");
    let (head, rest) = text.split_once("[stages.videos]").unwrap();
    let (_, tail) = rest.split_once("[stages.shuffle]").unwrap();
    let source = "[stages.decode]\ntype = \"synthetic_videos\"\nvideos = 66\nepochs = 3\nmin_frames = 4\n\
                  max_frames = 9\nworkers = 2\nclasses = 9\nrgb_size = 12\naudio_size = 12\n";
    format!("{head}{source}\n[stages.shuffle]{tail}")
}

#[test]
fn synthetic_videos_and_dropped_last_batches() {
    let mut bench = Bench::new(&["stages.batch.drop_last=true", "stages.shard.shards=2"]);
    bench.graph = bench.dir.path().join("synthetic.toml");
    fs::write(&bench.graph, synthetic()).unwrap();
    bench.overrides.retain(|set| !set.starts_with("stages.videos."));
    let whole = bench.start("whole", &[]);
    assert_eq!(whole.results["steps"], 9.0, "six videos of an epoch are dropped");
    for step in [1, 3, 4, 8] {
        let name = format!("after-{step}");
        bench.start(&name, &[&format!("stages.batch.max_batches={step}")]);
        // `max_batches` counts over the whole run.
        bench.resume(&name, &["stages.batch.max_batches=7"]);
        let second = bench.resume(&name, &[]);
        assert_eq!(results(&second), results(&whole), "{name}");
        bench.assert_same("whole", &name, &name);
    }
}

#[test]
fn video_level_models_resume_too() {
    // A stage of the user's own stands between decode and shuffle, and unread videos pass through it.
    let mut bench = Bench::new(&[]);
    bench.graph = root().join("graphs/quickstart-video.toml");
    let whole = bench.start("whole", &[]);
    assert_eq!(whole.results["steps"], STEPS as f64);
    for step in [2, 4, 7] {
        let name = format!("after-{step}");
        bench.start(&name, &[&format!("stages.batch.max_batches={step}")]);
        assert_eq!(results(&bench.resume(&name, &[])), results(&whole), "{name}");
        bench.assert_same("whole", &name, &name);
    }
}

#[test]
fn records_that_are_used_up_are_not_read_again() {
    let bench = Bench::new(&["stages.videos.shuffle_files=false", "stages.shuffle.buffer=1"]);
    bench.start("whole", &[]);
    bench.start("part", &["stages.batch.max_batches=7"]);
    // The first 60 videos of the second epoch are used up. A shuffle of one keeps the order.
    for (file, record) in [(0, 0), (0, 21), (1, 4), (2, 15)] {
        damage(&bench.file(file), record);
    }
    let resumed = bench.attempt("part", true, &["stages.videos.epochs=2"], Arc::default()).unwrap();
    assert_eq!(done(resumed).results["steps"], 8.0);
    let step = "checkpoints/step-00000008";
    let weights = |name: &str| fs::read(bench.run_dir(name).join(step).join("weights.safetensors")).unwrap();
    assert!(weights("part") == weights("whole"));
}

#[test]
fn other_data_is_refused() {
    let bench = Bench::new(&["stages.videos.shuffle_files=false", "stages.shuffle.buffer=66"]);
    bench.start("part", &["stages.batch.max_batches=2"]);
    let code = |outcome: Result<Outcome, RunError>| match outcome {
        Err(error) => (error.failure.kind.exit_code(), error.to_string()),
        Ok(outcome) => match outcome.status {
            Status::Failed(error) => (error.failure.kind.exit_code(), error.to_string()),
            other => panic!("{other:?}"),
        },
    };
    let attempt = |more: &[&str]| {
        bench.copy("part", "attempt");
        let outcome = code(bench.attempt("attempt", true, more, Arc::default()));
        fs::remove_dir_all(bench.run_dir("attempt")).unwrap();
        outcome
    };
    let (exit, text) = attempt(&[&format!("stages.videos.files={}", bench.file(0).display())]);
    assert!(exit == 78 && text.contains("there is now 1 file, there were 3"), "{exit} {text}");
    let (exit, text) = attempt(&["graph.seed=7"]);
    assert!(exit == 78 && text.contains("seed 1000") && text.contains('7'), "{exit} {text}");

    // The file is not a byte longer or shorter, but some of the 26 videos that are left cannot be loaded any more.
    let good = fs::read(bench.file(0)).unwrap();
    (0..22).for_each(|record| damage(&bench.file(0), record));
    let (exit, text) = attempt(&["stages.videos.epochs=1"]);
    assert!(exit == 65 && text.contains("the data changed since the checkpoint: "), "{exit} {text}");
    assert!(text.contains("train-0.tfrecord: record "), "{text}");
    // With "skip", the resumed run must not lose other records than the run before lost.
    let skip = ["stages.videos.epochs=1", "stages.videos.on_error=skip", "stages.decode.on_error=skip"];
    assert_eq!(attempt(&skip).0, 65);

    fs::write(bench.file(0), [&good[..], &[0]].concat()).unwrap();
    let (exit, text) = attempt(&[]);
    assert!(exit == 78 && text.contains("train-0.tfrecord has "), "{exit} {text}");
}
