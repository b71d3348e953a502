//! `framewise run --resume`, as a user meets it: stopped, refused, gone on.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::cli_signals::{ENDLESS, end, send, start, training, wait_until};
use crate::cli_support::{Desk, Said, graph, names, vowels_graph};
use crate::common::checkpoint_bytes;
use crate::resume_support::copy;

/// A checkpoint an epoch (of nine steps), and no evaluation.
const EVERY: [&str; 4] =
    ["--set", "stages.checkpoint.every_epochs=1", "--set", "stages.evaluate.every_epochs=0"];

fn quickstart(desk: &Desk, args: &[&str]) -> Said {
    desk.framewise(&[&["run", &graph("quickstart.toml")], &EVERY[..], args].concat())
}

/// `run`: a run of two epochs with checkpoints of steps 9 and 18, the same for every test.
fn trained() -> Desk {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        let desk = Desk::new();
        quickstart(&desk, &["--run-dir", "run", "--set", "stages.videos.epochs=2"]).expect(0);
        let kept = tempfile::tempdir().unwrap();
        copy(&desk.path("run"), kept.path());
        kept
    });
    let desk = Desk::new();
    copy(run.path(), &desk.path("run"));
    desk
}

/// What a run of `epochs` epochs in one go ends with.
fn in_one_go(epochs: u64) -> Vec<(String, Vec<u8>)> {
    let desk = Desk::new();
    quickstart(&desk, &["--run-dir", "run", "--set", &format!("stages.videos.epochs={epochs}")]).expect(0);
    checkpoint_bytes(&desk.path("run"))
}

fn flip_last_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The command that a summary tells.
fn command_in(said: &Said) -> String {
    let line = said.out.lines().find_map(|line| line.strip_prefix("go on with     "));
    line.unwrap_or_else(|| panic!("no command\n{}", said.out)).to_owned()
}

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

    // To its end, which the user moves: another epoch after the one in which it was stopped.
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

    // One log of both.
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
        assert!(said.out.contains("run directory  run\n"), "{name}\n{}", said.out);
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
    // A new run gets a number above all.
    let said = quickstart(&desk, &["--set", "stages.videos.epochs=1"]).expect(0);
    assert!(said.out.contains("run directory  runs/quickstart-13\n"), "{}", said.out);
}

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
    // The configuration's learning rate, whatever it is.
    assert!(
        said.err.contains("  stages.optimizer.learning_rate: ") && said.err.contains("0.5 now\n"),
        "{}",
        said.err
    );
    let hint = "--allow-changed stages.batch.size --allow-changed stages.optimizer.learning_rate\n";
    assert!(said.err.ends_with(hint), "{}", said.err);
    // What changes speed or length only is none of it.
    assert!(!said.err.contains("workers") && !said.err.contains("capacity"), "{}", said.err);
    assert!(!said.err.contains("epochs"), "{}", said.err);
    assert_eq!(state(&desk), before);

    // A stage that is gone, one that is new, another source of data.
    let text = fs::read_to_string(graph("quickstart.toml")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = text.replace("../", &format!("{}/", root.display()));
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
    // The new checkpoint has the new graph: nothing is left to allow.
    quickstart(&desk, &[&changed[..], &["-q"]].concat()).expect(0);
    let said = quickstart(&desk, &["--allow-changed", "optimizer"]).expect(64);
    assert!(said.err.contains("--resume"), "{}", said.err);
}

#[test]
fn a_damaged_newest_checkpoint_is_named_and_the_one_before_it_used() {
    let whole = in_one_go(3);
    let desk = trained();
    flip_last_byte(&desk.path("run/checkpoints/step-00000018/moments.safetensors"));
    // What a crash leaves is never taken.
    copy(&desk.path("run/checkpoints/step-00000018"), &desk.path("run/checkpoints/.step-00000027.tmp-1-0"));

    let three = ["--set", "stages.videos.epochs=3"];
    let by_path = [&["--resume", "run/checkpoints/step-00000018"], &three[..]].concat();
    let said = quickstart(&desk, &by_path).expect(65);
    assert!(said.err.contains("step-00000018 is damaged: moments.safetensors: checksum"), "{}", said.err);

    // Even with -q.
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
    assert!(said.out.contains("run directory  branch\n"), "{}", said.out);
    assert_eq!(checkpoint_bytes(&desk.path("branch")), before);
    assert_eq!(names(&desk.path("branch/checkpoints")), ["step-00000018"]);

    // A copy belongs to no run, and gets a directory as a new run does.
    copy(&desk.path("run/checkpoints/step-00000009"), &desk.path("step-00000009"));
    let said = quickstart(&desk, &["--resume", "step-00000009", "--set", "stages.videos.epochs=2"]).expect(0);
    assert!(said.out.contains("run directory  runs/quickstart-1\n"), "{}", said.out);
    assert_eq!(checkpoint_bytes(&desk.path("runs/quickstart-1")), before);
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
    // Read-only uses are not hindered.
    desk.framewise(&["inspect", "run"]).expect(0);
    let newest = |desk: &Desk| {
        names(&desk.path("run/checkpoints")).into_iter().rfind(|n| n.starts_with("step-")).unwrap()
    };
    let (eval, weights) = (graph("quickstart-eval.toml"), "stages.weights.path=run");
    desk.framewise(&["run", "-q", &eval, "--set", weights, "--run-dir", "measured"]).expect(0);

    // The lock dies with its owner, however that dies.
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

    // A new run there would take them for its own, and remove what it writes.
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
fn a_write_that_fails_leaves_the_checkpoint_before_it_and_tells_how_to_go_on() {
    let desk = trained();
    let before = checkpoint_bytes(&desk.path("run"));
    let three = ["--resume", "run", "--set", "stages.videos.epochs=3"];
    let graph = graph("quickstart.toml");
    let args = [&["run", &graph], &EVERY[..], &three].concat();
    let program = desk.command(&args);
    // No file may grow beyond 32 or 64 KB, as the shell counts: the moments have 94.
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

#[test]
fn the_seed_of_the_checkpoint_is_kept_where_the_graph_names_none() {
    let desk = Desk::new();
    let text = fs::read_to_string(graph("quickstart.toml")).unwrap();
    let text = text.lines().filter(|line| !line.starts_with("seed = ")).collect::<Vec<_>>().join("\n");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = text.replace("../", &format!("{}/", root.display()));
    let text = text.replace("quickstart-eval.toml", &graph("quickstart-eval.toml"));
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
