//! Tests of `framewise runs` and `framewise diff`.

use std::fs;

use serde_json::{Value, json};

use crate::support::cli::{Desk, Said, graph, names, vowels_graph};
use crate::support::trained::MEASURED;

/// The list of runs as programs get it.
fn listed(desk: &Desk, args: &[&str]) -> Value {
    let said = desk.framewise(&[&["runs", "--format", "json"], args].concat()).expect(0);
    serde_json::from_str(&said.out).unwrap()
}

/// Trains in this directory, with a measurement after each epoch.
fn measured(desk: &Desk, directory: &str, changes: &[&str]) {
    desk.framewise(
        &[&["run", "-q", &graph("quickstart.toml"), "--run-dir", directory], &MEASURED[..], changes].concat(),
    )
    .expect(0);
}

fn at(desk: &Desk, columns: &str, args: &[&str]) -> String {
    Said::of(desk.command(args).env("COLUMNS", columns).output().unwrap()).expect(0).out
}

#[test]
fn runs_are_listed_with_their_best_results() {
    let desk = Desk::new();
    fs::create_dir(desk.path("runs")).unwrap();
    measured(&desk, "runs/first", &["--set", "stages.videos.epochs=2"]);
    desk.write("copy.toml", &vowels_graph());
    desk.framewise(&["run", "-q", "copy.toml"]).expect(0);
    // The first label 8 lies behind the records that are looked at before a run begins.
    desk.framewise(&["run", "-q", "copy.toml", "--set", "stages.decode.classes=8"]).expect(65);
    let weights = "stages.weights.path=runs/first";
    desk.framewise(&["run", "-q", &graph("quickstart-eval.toml"), "--set", weights]).expect(0);

    // The best value stands in the log of the run, and that of the evaluation in its result.
    let log = desk.read("runs/first/metrics.jsonl");
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let best = lines.filter(|line| line["kind"] == "evaluation");
    let best = best
        .max_by(|a, b| a["hit_at_1"].as_f64().unwrap().total_cmp(&b["hit_at_1"].as_f64().unwrap()))
        .unwrap();
    let ended: Value = serde_json::from_str(&desk.read("runs/quickstart-eval-1/results.json")).unwrap();

    let runs = listed(&desk, &[]);
    let rows = runs["runs"].as_array().unwrap();
    let of = |name: &str| rows.iter().find(|run| run["name"] == name).unwrap();
    assert_eq!(rows.len(), 4);
    let first = of("first");
    assert_eq!(
        (&first["graph"], &first["status"], &first["steps"]),
        (&"quickstart".into(), &"ok".into(), &18.into())
    );
    let expected = json!({"metric": "hit_at_1", "value": best["hit_at_1"], "step": best["step"]});
    assert_eq!(first["best"], expected);
    assert_eq!(of("quickstart-eval-1")["best"]["value"], ended["results"]["gap"]);
    assert_eq!((&of("copy-1")["status"], &of("copy-2")["status"]), (&"ok".into(), &"failed".into()));
    assert_eq!(of("copy-1")["best"], Value::Null);
    assert_eq!(first["framewise"], env!("CARGO_PKG_VERSION"));
    // The size is the sum of all files, which `names` finds one level deep here.
    let copied = desk.path("runs/copy-1");
    let size: u64 = names(&copied).iter().map(|name| fs::metadata(copied.join(name)).unwrap().len()).sum();
    assert_eq!(of("copy-1")["bytes"], size);
    let date = first["last_written"].as_str().unwrap();
    assert!(date.len() == 20 && date.starts_with("20") && date.ends_with('Z'), "{date}");
    // The run that was written to last stands at the end.
    assert_eq!(rows.last().unwrap()["name"], "quickstart-eval-1");

    for (columns, width) in [("80", 80), ("40", 40)] {
        let text = at(&desk, columns, &["runs"]);
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        assert!(
            ["run ", "first ", "copy-1", "quickstart-eval-1 "].iter().all(|word| text.contains(word)),
            "{text}"
        );
        assert_eq!(text.contains("failed"), width == 80, "{text}");
    }
    let value = format!("hit_at_1 {:.6}", best["hit_at_1"].as_f64().unwrap());
    assert!(at(&desk, "80", &["runs"]).contains(&value), "{value}");
    desk.framewise(&["runs", "nowhere"]).expect(66);
    fs::create_dir(desk.path("none")).unwrap();
    assert_eq!(desk.framewise(&["runs", "none"]).expect(0).out, "no run lies in none\n");
}

#[cfg(unix)]
#[test]
fn half_written_and_foreign_directories_leave_gaps_and_stop_nothing() {
    let desk = Desk::new();
    let place = |name: &str| desk.path(&format!("runs/{name}"));
    fs::create_dir_all(place("foreign/deep")).unwrap();
    fs::write(place("foreign/notes.txt"), "mine").unwrap();
    fs::write(place("a file"), "mine").unwrap();
    // A run whose process was killed has no result, and half a line in its log of metrics.
    measured(&desk, "runs/killed", &["--set", "stages.videos.epochs=2"]);
    fs::remove_file(place("killed/results.json")).unwrap();
    fs::write(
        place("killed/log.jsonl"),
        "{\"seconds\":0.1,\"level\":\"info\",\"stage\":null,\"text\":\"x\"}\n{\"sec",
    )
    .unwrap();
    let metrics = desk.read("runs/killed/metrics.jsonl");
    fs::write(
        place("killed/metrics.jsonl"),
        format!("{metrics}{{\"kind\":\"evaluation\",\"step\":99,\"hit_at"),
    )
    .unwrap();
    // Nothing here is what its name says.
    fs::create_dir(place("odd")).unwrap();
    fs::write(place("odd/graph.resolved.toml"), "[[[").unwrap();
    fs::write(place("odd/results.json"), [0xff, 0xfe, b'{']).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(place("odd/metrics.jsonl")).status().unwrap().success());
    std::os::unix::fs::symlink(place("odd"), place("odd/around")).unwrap();
    // A run of an earlier version left no result.
    fs::create_dir(place("old")).unwrap();
    fs::write(place("old/log.jsonl"), "{\"level\":\"info\",\"text\":\"done\"}\n").unwrap();
    fs::write(place("old/graph.resolved.toml"), "[graph]\nname = \"g\\u001b[31m\"\n").unwrap();

    let runs = listed(&desk, &[]);
    assert_eq!(runs["other_directories"], json!(["foreign"]));
    let row =
        |name: &str| runs["runs"].as_array().unwrap().iter().find(|run| run["name"] == name).unwrap().clone();
    assert_eq!((&row("killed")["status"], &row("killed")["steps"]), (&"killed".into(), &18.into()));
    assert_eq!(row("killed")["best"]["metric"], "hit_at_1");
    assert_eq!((&row("odd")["status"], &row("odd")["graph"]), (&"killed".into(), &Value::Null));
    assert_eq!(row("old")["status"], "ok");
    let text = desk.framewise(&["runs"]).expect(0).out;
    assert!(text.contains("1 directory without a run: foreign") && !text.contains('\u{1b}'), "{text}");
    // The comparison leaves the same gaps.
    let said = desk.framewise(&["diff", "odd", "killed"]).expect(0);
    assert!(said.out.contains("The graph of a run cannot be read"), "{}", said.out);
    let said = desk.framewise(&["diff", "runs/foreign", "killed"]).expect(65);
    assert!(said.err.contains("not the directory of a run"), "{}", said.err);
    desk.framewise(&["diff", "killed", "nowhere"]).expect(66);
}

#[cfg(unix)]
#[test]
fn a_run_that_goes_on_is_listed_as_running() {
    use crate::support::child::{end, send, training};
    let desk = Desk::new();
    let child = training(&desk, "text");
    assert_eq!(listed(&desk, &["."])["runs"][0]["status"], "running");
    send(&child, "-INT");
    end(child).expect(130);
    assert_eq!(listed(&desk, &["."])["runs"][0]["status"], "interrupted");
}

#[test]
fn a_comparison_names_settings_and_numbers_that_differ() {
    let desk = Desk::new();
    measured(&desk, "run", &["--set", "stages.videos.epochs=2"]);
    measured(&desk, "second", &["--set", "stages.videos.epochs=1", "--set", "graph.seed=7"]);
    let said = desk.framewise(&["diff", "run", "second", "--format", "json"]).expect(0);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    let settings = json!([
        {"key": "graph.seed", "first": 1000, "second": 7},
        {"key": "stages.videos.epochs", "first": 2, "second": 1},
    ]);
    assert_eq!(found["settings"], settings);
    let ended =
        |name: &str| -> Value { serde_json::from_str(&desk.read(&format!("{name}/results.json"))).unwrap() };
    let number =
        |name: &str| found["numbers"].as_array().unwrap().iter().find(|n| n["name"] == name).unwrap().clone();
    assert_eq!(number("steps"), json!({"name": "steps", "first": 18.0, "second": 9.0}));
    let gap = |name: &str| ended(name)["results"]["gap"].as_f64().unwrap();
    assert_eq!(
        (number("results.gap")["first"].as_f64(), number("results.gap")["second"].as_f64()),
        (Some(gap("run")), Some(gap("second")))
    );

    for (columns, width) in [("80", 80), ("40", 40)] {
        let text = at(&desk, columns, &["diff", "run", "second"]);
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        for words in ["graph.seed: 1000 → 7\n", "stages.videos.epochs: 2 → 1\n", "framewise", "gap "] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }
    let change = format!("{:+.6}", gap("second") - gap("run"));
    assert!(at(&desk, "80", &["diff", "run", "second"]).contains(&change), "{change}");
    let same = desk.framewise(&["diff", "run", "run"]).expect(0);
    assert!(same.out.contains("The graphs are the same.\n"), "{}", same.out);
}

#[test]
fn a_stage_that_only_one_run_has_is_one_line_of_a_comparison() {
    let desk = Desk::new();
    measured(&desk, "run", &["--set", "stages.videos.epochs=1"]);
    let shuffle = [
        "--set",
        "stages.again.type=shuffle",
        "--set",
        "stages.again.buffer=10",
        "--set",
        "stages.again.from=decode",
        "--set",
        "stages.batch.from=again",
    ];
    measured(&desk, "second", &[&["--set", "stages.videos.epochs=1"], &shuffle[..]].concat());
    let text = at(&desk, "80", &["diff", "run", "second"]);
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("stages.again")).collect();
    assert_eq!(lines, ["  stages.again.type: not set → \"shuffle\""], "{text}");
}
