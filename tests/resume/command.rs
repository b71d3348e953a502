//! Tests of `framewise run --resume` as a user meets it: the names by which a run is resumed, and the checkpoint from
//! which it is.
#![cfg(unix)]

use std::fs;
use std::process::Command;

use crate::support::child::{ENDLESS, end, send, training};
use crate::support::cli::{Desk, Said, graph, graph_text, names};
use crate::support::files::{copy, flip_last_byte};
use crate::support::run::checkpoint_bytes;
use crate::support::trained::{EVERY, command_in, in_one_go, quickstart, trained};

#[test]
fn an_interrupted_run_goes_on_by_the_printed_command_as_if_nothing_had_been() {
    let desk = Desk::new();
    let child = training(&desk, "text");
    send(&child, "-INT");
    let said = end(child).expect(130);
    let command = command_in(&said);
    assert!(command.ends_with(" --resume run"), "{command}");
    let newest =
        names(&desk.path("run/checkpoints")).into_iter().rfind(|name| name.starts_with("step-")).unwrap();
    let step: u64 = newest["step-".len()..].parse().unwrap();

    // The run is resumed to its end. The user moves the end to one epoch after the one in which the run was stopped.
    let epochs = step / 9 + 2;
    let command = command.replace(ENDLESS, &format!("stages.videos.epochs={epochs}"));
    let again =
        Said::of(Command::new("sh").args(["-c", &command]).current_dir(desk.path(".")).output().unwrap());
    let again = again.expect(0);
    assert!(
        again.err.contains(&format!("resumed from run/checkpoints/{newest}: step {step}, ")),
        "{}",
        again.err
    );
    assert!(again.err.contains("changed: stages.videos.epochs: 1000000 in the checkpoint"), "{}", again.err);
    assert!(again.out.contains(&format!("{} steps", epochs * 9)), "{}", again.out);
    assert!(!again.out.contains("go on with"), "{}", again.out);
    assert_eq!(checkpoint_bytes(&desk.path("run")), in_one_go(epochs));

    // There is one log of both runs.
    let log = desk.read("run/log.jsonl");
    assert!(log.contains("finished early on request") && log.contains("resumed from "), "{log}");
    assert!(desk.read("run/graph.resolved.toml").contains(&format!("epochs = {epochs}\n")));
}

#[test]
fn each_name_of_a_run_goes_on_from_its_newest_checkpoint() {
    let whole = in_one_go(3);
    for name in ["run", "run/", "run/checkpoints", "run/checkpoints/step-00000018"] {
        let desk = trained();
        let said = quickstart(&desk, &["--resume", name, "--set", "stages.videos.epochs=3"]).expect(0);
        let told = "resumed from run/checkpoints/step-00000018: step 18, epoch ";
        assert!(said.err.contains(told) && said.err.contains("540 samples"), "{name}\n{}", said.err);
        assert!(said.out.contains("run directory    run\n"), "{name}\n{}", said.out);
        assert_eq!(checkpoint_bytes(&desk.path("run")), whole, "{name}");
        assert!(!desk.path("runs").exists());
    }
}

#[test]
fn latest_is_the_run_of_this_graph_with_the_highest_number_that_holds_a_checkpoint() {
    let desk = trained();
    let two = ["--resume", "latest", "--set", "stages.videos.epochs=2"];
    let said = quickstart(&desk, &two).expect(66);
    assert!(said.err.contains("no run of `quickstart` below runs/ holds a checkpoint"), "{}", said.err);
    for number in [2, 10] {
        copy(&desk.path("run"), &desk.path(&format!("runs/quickstart-{number}")));
    }
    copy(&desk.path("run"), &desk.path("runs/quickstart-small-11"));
    fs::create_dir(desk.path("runs/quickstart-12")).unwrap();
    let said = quickstart(&desk, &two).expect(0);
    assert!(said.err.contains("resumed from runs/quickstart-10/checkpoints/step-00000018"), "{}", said.err);
    // A new run gets a number above all others.
    let said = quickstart(&desk, &["--set", "stages.videos.epochs=1"]).expect(0);
    assert!(said.out.contains("run directory    runs/quickstart-13\n"), "{}", said.out);
}

#[test]
fn a_damaged_newest_checkpoint_is_named_and_the_one_before_it_used() {
    let whole = in_one_go(3);
    let desk = trained();
    flip_last_byte(&desk.path("run/checkpoints/step-00000018/moments.safetensors"));
    // What a crash leaves is never used.
    copy(&desk.path("run/checkpoints/step-00000018"), &desk.path("run/checkpoints/.step-00000027.tmp-1-0"));

    let three = ["--set", "stages.videos.epochs=3"];
    let by_path = [&["--resume", "run/checkpoints/step-00000018"], &three[..]].concat();
    let said = quickstart(&desk, &by_path).expect(65);
    assert!(said.err.contains("step-00000018 is damaged: moments.safetensors: checksum"), "{}", said.err);

    // The warning is shown even with -q.
    let said = quickstart(&desk, &[&["-q", "--resume", "run"], &three[..]].concat()).expect(0);
    for words in [
        "step-00000018 is damaged: moments.safetensors: checksum",
        "it is now run/checkpoints/step-00000018.damaged",
        "goes on from step 9",
    ] {
        assert!(said.err.contains(words), "{words}\n{}", said.err);
    }
    assert_eq!(checkpoint_bytes(&desk.path("run")), whole);
    assert!(desk.path("run/checkpoints/step-00000018.damaged").is_dir());
    assert!(!desk.path("run/checkpoints/.step-00000027.tmp-1-0").exists());

    for name in names(&desk.path("run/checkpoints")).iter().filter(|name| !name.ends_with(".damaged")) {
        flip_last_byte(&desk.path("run/checkpoints").join(name).join("weights.safetensors"));
    }
    let said = quickstart(&desk, &[&["--resume", "run"], &three[..]].concat()).expect(65);
    assert!(said.err.contains("no checkpoint in run/checkpoints is good"), "{}", said.err);
    assert!(said.err.contains("step-00000027 is damaged: weights.safetensors"), "{}", said.err);
}

#[test]
fn an_older_checkpoint_branches_off_into_a_directory_of_its_own() {
    let desk = trained();
    let older = ["--resume", "run/checkpoints/step-00000009", "--set", "stages.videos.epochs=2"];
    let said = quickstart(&desk, &older).expect(64);
    assert!(said.err.contains("step-00000018 is; to branch off"), "{}", said.err);
    let before = checkpoint_bytes(&desk.path("run"));
    let said = quickstart(&desk, &[&older[..], &["--run-dir", "branch"]].concat()).expect(0);
    assert!(said.out.contains("run directory    branch\n"), "{}", said.out);
    assert_eq!(checkpoint_bytes(&desk.path("branch")), before);
    assert_eq!(names(&desk.path("branch/checkpoints")), ["step-00000018"]);

    // A copy belongs to no run, so it gets a directory as a new run does.
    copy(&desk.path("run/checkpoints/step-00000009"), &desk.path("step-00000009"));
    let said = quickstart(&desk, &["--resume", "step-00000009", "--set", "stages.videos.epochs=2"]).expect(0);
    assert!(said.out.contains("run directory    runs/quickstart-1\n"), "{}", said.out);
    assert_eq!(checkpoint_bytes(&desk.path("runs/quickstart-1")), before);
}

#[test]
fn a_write_that_fails_leaves_the_checkpoint_before_it_and_tells_how_to_go_on() {
    let desk = trained();
    let before = checkpoint_bytes(&desk.path("run"));
    let three = ["--resume", "run", "--set", "stages.videos.epochs=3"];
    let graph = graph("quickstart.toml");
    let args = [&["run", &graph], &EVERY[..], &three].concat();
    let program = desk.command(&args);
    // No file may grow beyond 32 or 64 KB, depending on how the shell counts. The moments have 94 KB.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]).arg(program.get_program());
    let said = Said::of(limited.args(&args).current_dir(desk.path(".")).output().unwrap()).expect(73);
    assert!(said.err.contains("cannot write run/checkpoints/step-00000027/"), "{}", said.err);
    assert_eq!(names(&desk.path("run/checkpoints")), ["step-00000009", "step-00000018"]);
    assert_eq!(checkpoint_bytes(&desk.path("run")), before);
    let command = command_in(&said);
    let again = Command::new("sh").args(["-c", &command]).current_dir(desk.path(".")).output().unwrap();
    Said::of(again).expect(0);
    assert_eq!(checkpoint_bytes(&desk.path("run")), in_one_go(3));
}

#[test]
fn the_seed_of_the_checkpoint_is_kept_where_the_graph_names_none() {
    let desk = Desk::new();
    let text = graph_text("quickstart.toml");
    let text = text.lines().filter(|line| !line.starts_with("seed = ")).collect::<Vec<_>>().join("\n");
    desk.write("unseeded.toml", &text);
    let run =
        |args: &[&str]| desk.framewise(&[&["run", "unseeded.toml"], &EVERY[..], args].concat()).expect(0);
    run(&["--run-dir", "run", "--set", "stages.videos.epochs=1"]);
    let seed = |text: String| text.lines().find(|line| line.starts_with("seed = ")).unwrap().to_owned();
    let drawn = seed(desk.read("run/graph.resolved.toml"));
    let said = run(&["--resume", "run", "--set", "stages.videos.epochs=2"]);
    assert!(!said.err.contains("drawn for this run"), "{}", said.err);
    assert_eq!(seed(desk.read("run/graph.resolved.toml")), drawn);
}
