//! Tests of `framewise run` as a user meets it: results, run directories and exit codes.

use std::process::Stdio;

use serde_json::Value;

use crate::support::cli::{Desk, Said, copy_graph, data, graph, names, vowels_graph};

#[test]
fn json_has_the_contracts_keys_and_the_counts_of_the_data() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    let (said, result) = desk.run_json(&["copy.toml", "--set", "graph.seed=7"]);
    let said = said.expect(0);
    assert_eq!(said.out.matches("\"run_dir\"").count(), 1);
    assert_eq!((&result["graph"], &result["status"]), (&"copy".into(), &"ok".into()));
    assert_eq!(result["run_dir"], "runs/copy-1");
    assert!(result["wall_seconds"].as_f64().unwrap() > 0.0);
    assert!(result.get("error").is_none());

    let stages = result["stages"].as_array().unwrap();
    assert_eq!(
        stages.iter().map(|s| s["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["videos", "decode", "out"]
    );
    let keys = [
        "name",
        "type",
        "workers",
        "items_in",
        "items_out",
        "bytes_in",
        "bytes_out",
        "items_per_second",
        "busy",
        "input_wait",
        "output_wait",
        "ended",
        "rejected",
        "counts",
    ];
    for stage in stages {
        assert!(keys.iter().all(|key| stage.get(key).is_some()), "{stage}");
        let shares = ["busy", "input_wait", "output_wait", "ended"].map(|key| stage[key].as_f64().unwrap());
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
    }
    // The bundled set has 270 training utterances.
    assert_eq!((&stages[0]["items_out"], &stages[1]["items_in"]), (&270.into(), &270.into()));
    assert_eq!((&stages[2]["type"], &stages[2]["items_in"]), (&"tfrecord_writer".into(), &270.into()));
    let limit = &result["bottleneck"];
    assert!(["reason", "why", "advice"].iter().all(|key| limit[key].is_string()), "{limit}");
    assert!(limit.get("stage").is_some() && limit.get("at_most").is_some(), "{limit}");
    assert!(!said.err.contains('{'), "{}", said.err);
}

#[test]
fn a_run_directory_tells_what_ran_and_each_run_gets_its_own() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    let first = desk.framewise(&["run", "copy.toml"]).expect(0);
    assert!(first.out.contains("run directory    runs/copy-1"), "{}", first.out);
    for words in ["waiting out", "ended", "videos", "decode", "270", "limiting stage: ", "done in"] {
        assert!(first.out.contains(words), "{words}\n{}", first.out);
    }
    desk.framewise(&["run", "copy.toml"]).expect(0);
    assert_eq!(names(&desk.path("runs")), ["copy-1", "copy-2"]);
    assert_eq!(
        names(&desk.path("runs/copy-1")),
        [
            ".lock",
            "copy.tfrecord",
            "graph.resolved.toml",
            "log.jsonl",
            "metrics.jsonl",
            "results.json",
            "stages.json"
        ]
    );

    // The log has every message, also those that were not shown.
    let log = desk.read("runs/copy-1/log.jsonl");
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(log.iter().any(|l| l["level"] == "debug" && l["stage"] == "videos"), "{log:?}");
    assert_eq!(log.last().unwrap()["text"], "done");

    // The graph that ran can be checked and run again.
    desk.framewise(&["check", "runs/copy-1/graph.resolved.toml"]).expect(0);
    desk.framewise(&["run", "-q", "runs/copy-1/graph.resolved.toml", "--run-dir", "again/here"]).expect(0);
    assert_eq!(
        std::fs::read(desk.path("again/here/copy.tfrecord")).unwrap(),
        std::fs::read(desk.path("runs/copy-1/copy.tfrecord")).unwrap()
    );
}

#[test]
fn a_seed_that_nobody_gave_is_told_and_stored() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    let seed_of_run = |number: u32| {
        let said = desk.framewise(&["run", "copy.toml"]).expect(0);
        let resolved = desk.read(&format!("runs/copy-{number}/graph.resolved.toml"));
        let seed = resolved.lines().find_map(|line| line.strip_prefix("seed = ")).unwrap().to_owned();
        assert!(said.err.contains(&format!("seed {seed}, drawn")), "{seed}\n{}", said.err);
        seed
    };
    assert_ne!(seed_of_run(1), seed_of_run(2));
    let said = desk.framewise(&["run", "copy.toml", "--set", "graph.seed=5"]).expect(0);
    assert!(!said.err.contains("drawn"), "{}", said.err);
}

#[test]
fn quiet_says_nothing_and_verbose_says_more() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    let quiet = desk.framewise(&["run", "-q", "copy.toml"]).expect(0);
    assert_eq!(quiet.err, "");
    assert!(quiet.out.contains("run directory"));
    let usual = desk.framewise(&["run", "copy.toml"]).expect(0);
    assert!(!usual.err.contains("reading "), "{}", usual.err);
    let verbose = desk.framewise(&["run", "-v", "copy.toml"]).expect(0);
    assert!(verbose.err.contains("videos: reading "), "{}", verbose.err);
}

#[test]
fn an_input_that_is_not_there_is_66_and_leaves_nothing() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    let args = ["copy.toml", "--set", "stages.videos.files=nowhere.tfrecord"];
    let (said, result) = desk.run_json(&args);
    let said = said.expect(66);
    assert!(said.err.starts_with("error: stage `videos`: "), "{}", said.err);
    assert!(said.err.contains("nowhere.tfrecord"), "{}", said.err);
    // The operating system's words stand in the message once.
    assert_eq!(said.err.matches("No such file or directory").count(), 1, "{}", said.err);
    assert_eq!((&result["status"], &result["run_dir"]), (&"failed".into(), &Value::Null));
    assert_eq!((&result["error"]["stage"], &result["error"]["exit_code"]), (&"videos".into(), &66.into()));
    assert!(!desk.path("runs").exists());

    desk.framewise(&["run", "nowhere.toml"]).expect(66);
}

#[test]
fn a_bad_record_is_65_and_commits_nothing() {
    let desk = Desk::new();
    desk.write("copy.toml", &copy_graph(&data("golden/tfrecord/bad_data_crc.tfrecord"), 1024, 128, 3862));
    let (said, result) = desk.run_json(&["copy.toml"]);
    let said = said.expect(65);
    // The manifest of the golden files puts the damage into record 1 at byte 5932.
    let place = "bad_data_crc.tfrecord: record 1 at byte 5932 (id \"v7101\"): data CRC mismatch";
    assert!(said.err.contains(place), "{}", said.err);
    assert!(said.err.trim_end().ends_with(place), "the error comes last\n{}", said.err);
    assert_eq!(result["status"], "failed");
    assert!(result["error"]["message"].as_str().unwrap().contains(place), "{result}");
    assert_eq!(
        names(&desk.path("runs/copy-1")),
        [".lock", "graph.resolved.toml", "log.jsonl", "results.json"]
    );
    assert!(desk.read("runs/copy-1/log.jsonl").contains("\"level\":\"error\",\"stage\":\"videos\""));

    let (said, result) = desk.run_json(&["copy.toml", "--set", "stages.videos.on_error=skip"]);
    said.expect(0);
    assert_eq!(result["stages"][0]["rejected"]["data_crc"], 1);
    assert_eq!(result["stages"][2]["items_in"], 3);
    let rejected = desk.read("runs/copy-2/rejected.jsonl");
    assert_eq!(serde_json::from_str::<Value>(rejected.trim()).unwrap()["byte"], 5932);
}

#[test]
fn a_device_that_is_not_there_is_69() {
    let desk = Desk::new();
    // Even a machine with GPUs has no device 99.
    let args = ["run", &graph("quickstart.toml"), "--set", "stages.forward.devices=[\"cuda:99\"]"];
    let said = desk.framewise(&args).expect(69);
    assert!(said.err.contains("error: stage `forward`: ") && said.err.contains("cuda:99"), "{}", said.err);
}

#[test]
fn a_directory_that_cannot_be_used_is_73() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    desk.write("file", "mine");
    let said = desk.framewise(&["run", "copy.toml", "--run-dir", "."]).expect(73);
    assert!(said.err.contains("holds files already"), "{}", said.err);
    let (said, result) = desk.run_json(&["copy.toml", "--run-dir", "file/run"]);
    let said = said.expect(73);
    assert!(said.err.contains("file/run"), "{}", said.err);
    assert_eq!(result["error"]["exit_code"], 73);
    assert_eq!(desk.read("file"), "mine");
    // An empty directory is taken.
    std::fs::create_dir(desk.path("empty")).unwrap();
    desk.framewise(&["run", "-q", "copy.toml", "--run-dir", "empty"]).expect(0);
}

#[test]
fn a_wrong_graph_is_78_with_the_place() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph().replace("rgb_size", "rgb_sise"));
    let (said, result) = desk.run_json(&["copy.toml"]);
    let said = said.expect(78);
    assert!(
        said.err.contains("copy.toml:8:1") && said.err.contains("did you mean `rgb_size`"),
        "{}",
        said.err
    );
    assert!(!said.err.contains('\u{1b}'), "no colours without a terminal");
    let message = result["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("copy.toml:8:1: `rgb_sise`") && !message.contains('\n'), "{result}");
    assert!(!desk.path("runs").exists());
}

#[test]
fn wrong_usage_is_64() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    for args in [
        &[][..],
        &["walk"],
        &["run"],
        &["run", "copy.toml", "--fast"],
        &["run", "copy.toml", "--set", "nothing"],
        &["run", "copy.toml", "--format", "xml"],
        &["run", "copy.toml", "-q", "-v"],
        &["check"],
        &["inspect"],
    ] {
        let said = desk.framewise(args).expect(64);
        assert_eq!(said.out, "", "{args:?}");
        assert!(
            said.err.contains("Usage: framewise") || said.err.contains("--help"),
            "{args:?}\n{}",
            said.err
        );
    }
    for args in [&["--help"][..], &["--version"], &["run", "--help"], &["inspect", "-h"]] {
        let said = desk.framewise(args).expect(0);
        assert!(said.out.contains("framewise") && said.err.is_empty(), "{args:?}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    for args in [&["run", "-v", "copy.toml"][..], &["stages"], &["stages", "optimizer", "--format", "json"]] {
        let mut child = desk.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Both pipes are closed before the program writes or while it writes.
        drop(child.stdout.take());
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_is_lost_is_told() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = desk.command(&["run", "copy.toml"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let said = Said::of(output.wait_with_output().unwrap()).expect(74);
    assert!(said.err.contains("cannot write to standard output"), "{}", said.err);
}
