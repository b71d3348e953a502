//! Tests of what `framewise run --resume` refuses, with which words and codes, and of what a user may allow.
#![cfg(unix)]

use std::fs;
use std::process::Command;

use crate::support::child::{ENDLESS, end, send, start, wait_until};
use crate::support::cli::{Desk, Said, graph, graph_text, names, vowels_graph};
use crate::support::run::checkpoint_bytes;
use crate::support::trained::{EVERY, command_in, in_one_go, quickstart, trained};

#[test]
fn another_graph_is_refused_with_each_change_and_nothing_is_touched() {
    let desk = trained();
    let state = |desk: &Desk| {
        (desk.read("run/log.jsonl"), desk.read("run/graph.resolved.toml"), names(&desk.path("run")))
    };
    let before = state(&desk);
    let changed = [
        "--set",
        "stages.batch.size=32",
        "--set",
        "stages.optimizer.learning_rate=0.5",
        "--set",
        "graph.seed=7",
        "--set",
        "stages.decode.workers=1",
        "--set",
        "stages.shuffle.capacity=3",
    ];
    let said = quickstart(&desk, &[&["--resume", "run"], &changed[..]].concat()).expect(78);
    for line in [
        "  graph.seed: 1000 in the checkpoint, 7 now\n",
        "  stages.batch.size: 30 in the checkpoint, 32 now\n",
    ] {
        assert!(said.err.contains(line), "{line}\n{}", said.err);
    }
    // This is the configuration's learning rate, whatever it is.
    assert!(
        said.err.contains("  stages.optimizer.learning_rate: ") && said.err.contains("0.5 now\n"),
        "{}",
        said.err
    );
    let hint = "--allow-changed stages.batch.size --allow-changed stages.optimizer.learning_rate\n";
    assert!(said.err.ends_with(hint), "{}", said.err);
    // What only changes speed or length is not refused.
    assert!(!said.err.contains("workers") && !said.err.contains("capacity"), "{}", said.err);
    assert!(!said.err.contains("epochs"), "{}", said.err);
    assert_eq!(state(&desk), before);

    // One stage is gone, one is new, and the data come from another source.
    let text = graph_text("quickstart.toml");
    let evaluate = text.find("[stages.evaluate]").unwrap();
    let checkpoint = text.find("[stages.checkpoint]").unwrap();
    let text = format!("{}{}", &text[..evaluate], &text[checkpoint..])
        .replace("\"evaluate\"", "\"optimizer.states\"");
    let text = text.replace("best = \"hit_at_1\"\n", "");
    let text = text + "\n[stages.twice]\ntype = \"report\"\nfrom = \"loss.predictions\"\n";
    desk.write("quickstart.toml", &text);
    let said = desk.framewise(&["run", "quickstart.toml", "--resume", "run"]).expect(78);
    for line in [
        "  stages.twice: no such stage in the checkpoint, a `report` now\n",
        "  stages.evaluate: a `evaluate` in the checkpoint, no such stage now\n",
        "  stages.checkpoint.from: ",
    ] {
        assert!(said.err.contains(line), "{line}\n{}", said.err);
    }
    assert_eq!(state(&desk), before);
}

#[test]
fn what_is_allowed_by_name_may_change() {
    let desk = trained();
    let changed = [
        "--resume",
        "run",
        "--set",
        "stages.videos.epochs=3",
        "--set",
        "stages.optimizer.learning_rate=0.5",
        "--set",
        "stages.optimizer.beta1=0.8",
    ];
    let allow = |names: &[&str]| {
        let names = names.iter().flat_map(|name| ["--allow-changed", name]).collect::<Vec<_>>();
        quickstart(&desk, &[&changed[..], &names].concat())
    };
    let said = allow(&["stages.optimizer.learning_rate"]).expect(78);
    assert!(
        said.err.contains("stages.optimizer.beta1: ") && !said.err.contains("learning_rate"),
        "{}",
        said.err
    );
    let said = allow(&["optimizer", "stages.optimizer.learning_rat"]).expect(64);
    assert!(said.err.contains("--allow-changed stages.optimizer.learning_rat: "), "{}", said.err);
    let said = allow(&["optimizer", "graph.seed"]).expect(64);
    assert!(said.err.contains("the seed cannot change"), "{}", said.err);
    let said = allow(&["optimizer", "stages.batch.size"]).expect(0);
    assert!(said.err.contains("--allow-changed stages.batch.size is not needed"), "{}", said.err);
    assert!(said.err.contains("warning: changed: stages.optimizer.learning_rate: "), "{}", said.err);
    assert_ne!(checkpoint_bytes(&desk.path("run")), in_one_go(3));
    // The new checkpoint has the new graph, so nothing is left to allow.
    quickstart(&desk, &[&changed[..], &["-q"]].concat()).expect(0);
    let said = quickstart(&desk, &["--allow-changed", "optimizer"]).expect(64);
    assert!(said.err.contains("--resume"), "{}", said.err);
}

#[test]
fn a_directory_in_use_is_refused_and_can_be_read() {
    let desk = Desk::new();
    let (path, all) = (graph("quickstart.toml"), "stages.checkpoint.keep_last=1000000");
    let steps = ["--set", "stages.checkpoint.every_steps=2", "--set", ENDLESS, "--set", all];
    let mut child = start(&desk, &[&["run", &path, "--run-dir", "run"], &EVERY[..], &steps].concat());
    let pid = child.id();
    let endless = ["--set", ENDLESS];
    wait_until("a checkpoint", || {
        let checkpoints = desk.path("run/checkpoints");
        checkpoints.is_dir() && names(&checkpoints).iter().any(|name| name.starts_with("step-"))
    });
    for name in ["run", "run/checkpoints"] {
        let said = quickstart(&desk, &[&["--resume", name], &endless[..]].concat()).expect(73);
        assert!(said.err.contains(&format!("run is in use: process {pid} is running there")), "{}", said.err);
    }
    // Uses that only read are not hindered.
    desk.framewise(&["inspect", "run"]).expect(0);
    let newest = |desk: &Desk| {
        names(&desk.path("run/checkpoints")).into_iter().rfind(|n| n.starts_with("step-")).unwrap()
    };
    let (eval, weights) = (graph("quickstart-eval.toml"), "stages.weights.path=run");
    desk.framewise(&["run", "-q", &eval, "--set", weights, "--run-dir", "measured"]).expect(0);

    // The lock ends with its owner, however the owner ends.
    child.kill().unwrap();
    child.wait().unwrap();
    let last = newest(&desk);
    let epochs = last["step-".len()..].parse::<u64>().unwrap() / 9 + 1;
    let epochs = format!("stages.videos.epochs={epochs}");
    let said = quickstart(&desk, &["--resume", "run", "--set", &epochs]).expect(0);
    assert!(said.err.contains(&format!("resumed from run/checkpoints/{last}")), "{}", said.err);
}

#[test]
fn a_directory_that_a_checkpoint_stage_names_is_locked_and_found_too() {
    let desk = Desk::new();
    let path = format!("stages.checkpoint.path={}", desk.path("kept").display());
    let steps = ["--set", "stages.checkpoint.every_steps=2", "--set", ENDLESS, "--set", &path];
    let graph = graph("quickstart.toml");
    let args = [&["run", &graph, "--run-dir", "run"], &EVERY[..], &steps[..]].concat();
    let child = start(&desk, &args);
    wait_until("a checkpoint", || {
        desk.path("kept").is_dir() && names(&desk.path("kept")).iter().any(|n| n.starts_with("step-"))
    });
    let said = quickstart(&desk, &["--run-dir", "other", "--set", &path]).expect(73);
    assert!(said.err.contains("kept is in use: process "), "{}", said.err);
    assert!(!desk.path("other").exists());
    send(&child, "-TERM");
    let said = end(child).expect(130);
    let command = command_in(&said);
    let last = names(&desk.path("kept")).into_iter().rfind(|n| n.starts_with("step-")).unwrap();
    let epochs = last["step-".len()..].parse::<u64>().unwrap() / 9 + 1;
    let command = command.replace(ENDLESS, &format!("stages.videos.epochs={epochs}"));
    let again = Command::new("sh").args(["-c", &command]).current_dir(desk.path(".")).output().unwrap();
    let again = Said::of(again).expect(0);
    assert!(again.err.contains(&format!("resumed from kept/{last}")), "{}", again.err);

    // A new run there would take these checkpoints for its own, and remove what it writes.
    let before = names(&desk.path("kept"));
    let said = quickstart(&desk, &["--run-dir", "other", "--set", &path]).expect(73);
    let kept = desk.path("kept").display().to_string();
    assert!(
        said.err.contains(&format!("path {kept} holds checkpoints already, up to kept/step-")),
        "{}",
        said.err
    );
    assert!(said.err.contains(&format!("`--resume {kept}`")), "{}", said.err);
    assert_eq!(names(&desk.path("kept")), before);
    assert!(!desk.path("other").exists());
}

#[test]
fn what_cannot_be_resumed_is_told() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    let said = desk.framewise(&["run", "copy.toml", "--resume", "latest"]).expect(64);
    assert!(said.err.contains("`copy` cannot be resumed: it has no `optimizer` stage"), "{}", said.err);
    let said = quickstart(&desk, &["--resume", "nowhere"]).expect(66);
    assert!(said.err.contains("cannot resume from nowhere: "), "{}", said.err);
    let said = quickstart(&desk, &["--resume", "copy.toml"]).expect(65);
    assert!(said.err.contains("a file, not a checkpoint's or a run's directory"), "{}", said.err);
    fs::create_dir(desk.path("empty")).unwrap();
    let said = quickstart(&desk, &["--resume", "empty"]).expect(66);
    assert!(said.err.contains("no checkpoint in empty"), "{}", said.err);
    assert_eq!(names(&desk.path(".")), ["copy.toml", "empty"]);
}
