//! Laws: keys of different stages that must agree are compared by `check`, which names both with their places. What
//! `--set use.NAME=PATH` replaces is replaced in the graph that `evaluate` runs too. A mistake that stages share is told
//! once.

use crate::support::cli::{Desk, Said, graph};
use crate::support::files::make_pipe;
use crate::support::trial;

/// A desk with `train.toml` and `eval.toml`.
fn desk() -> Desk {
    let desk = Desk::new();
    trial::write_graphs(&desk, 2);
    desk
}

/// Checks a copy of a graph whose table `[stages.STAGE]` begins with these lines. Returns what was said, and the line of
/// the first of them.
#[track_caller]
fn check(desk: &Desk, graph: &str, stage: &str, lines: &str, code: i32) -> (Said, usize) {
    let header = format!("[stages.{stage}]\n");
    let text = desk.read(graph).replace(&header, &format!("{header}{lines}\n"));
    let line = text.lines().position(|line| line == lines.lines().next().unwrap()).unwrap() + 1;
    desk.write("changed.toml", &text);
    (desk.framewise(&["check", "changed.toml"]).expect(code), line)
}

#[test]
fn a_source_and_a_model_that_do_not_fit_are_both_named() {
    let desk = desk();
    for (graph, key, message) in [
        (
            "train.toml",
            "max_frames = 400",
            "max_frames = 300 is less than max_frames = 400 of stage `decode`",
        ),
        ("eval.toml", "max_frames = 400", "max_frames = 300 is less than max_frames = 400 of stage `decode`"),
        ("train.toml", "classes = 12", "classes = 9 is less than classes = 12 of stage `decode`"),
    ] {
        let (said, line) = check(&desk, graph, "decode", key, 78);
        assert!(said.err.contains(&format!("error: stage `forward`: {message}")), "{}", said.err);
        assert!(said.err.contains(&format!("changed.toml:{line}:")), "{}", said.err);
        assert!(said.err.contains("japanese-vowels.toml:"), "{}", said.err);
    }
    let (said, _) = check(&desk, "train.toml", "decode", "classes = 5", 0);
    assert!(said.err.contains("classes = 9 is more than classes = 5 of stage `decode`"), "{}", said.err);
    // Shorter videos than the model could take are no mistake.
    let (said, _) = check(&desk, "eval.toml", "decode", "max_frames = 20", 0);
    assert!(!said.err.contains("max_frames"), "{}", said.err);
}

#[test]
fn stages_that_compute_one_model_must_agree_on_it() {
    let desk = desk();
    let (said, line) = check(&desk, "train.toml", "forward", "drop_rate = 0.25", 78);
    let message =
        "stage `optimizer`: drop_rate = 0.5 does not agree with drop_rate = 0.25 of stage `forward`";
    assert!(said.err.contains(message), "{}", said.err);
    assert!(said.err.contains(&format!("changed.toml:{line}:")), "{}", said.err);
    assert!(said.err.contains("tiny.toml:8:"), "{}", said.err);
    let (said, _) = check(&desk, "eval.toml", "forward", "norm_epsilon = 0.001", 78);
    let message =
        "stage `forward`: norm_epsilon = 0.001 does not agree with norm_epsilon = 0.00001 of stage `weights`";
    assert!(said.err.contains(message), "{}", said.err);
    // A graph that is evaluated may measure with other values. That is rarely meant.
    desk.write("loose.toml", &format!("{}norm_epsilon = 0.001\n", desk.read("tiny.toml")));
    desk.write("eval.toml", &desk.read("eval.toml").replace("tiny.toml", "loose.toml"));
    let said = desk.framewise(&["check", "train.toml"]).expect(0);
    assert!(said.err.contains("measures with norm_epsilon = 0.001 in its stage `weights`"), "{}", said.err);
    assert!(said.err.contains("stage `optimizer` trains with norm_epsilon = 0.00001"), "{}", said.err);
}

#[test]
fn a_mistake_in_a_shared_config_is_told_once_with_what_would_do() {
    let desk = desk();
    desk.write("tiny.toml", &desk.read("tiny.toml").replace("\ngroups = 2", "\ngroups = 7"));
    let said = desk.framewise(&["check", "eval.toml"]).expect(78);
    let message = "error: stages `weights` and `forward`: groups = 7 must divide expansion · rgb_size = 2 · 12 = 24; the \
                   nearest numbers that do are 6 and 8";
    assert!(said.err.contains(message), "{}", said.err);
    assert_eq!(said.err.matches("must divide").count(), 1, "{}", said.err);
    assert!(said.err.contains("tiny.toml:3:10"), "{}", said.err);
}

#[test]
fn configs_that_are_set_reach_the_evaluated_graph() {
    let by_hand = desk();
    let wide = by_hand.read("tiny.toml").replace("hidden = 16", "hidden = 32");
    by_hand.write("tiny.toml", &wide);
    let (said, expected) = by_hand.run_json(&["train.toml", "--run-dir", "run"]);
    said.expect(0);

    let desk = desk();
    desk.write("wide.toml", &wide);
    let set = ["--set", "use.model=wide.toml"];
    desk.framewise(&["render", "train.toml", set[0], set[1]]).expect(0);
    let (said, found) = desk.run_json(&["train.toml", "--run-dir", "run", set[0], set[1]]);
    said.expect(0);
    assert_eq!(found["results"], expected["results"]);
    assert!(found["results"]["gap"].is_f64(), "{found}");
    let (said, narrow) = desk.run_json(&["train.toml", "--run-dir", "narrow"]);
    said.expect(0);
    assert_ne!(narrow["results"]["loss"], expected["results"]["loss"]);

    // The graph as it ran keeps the change, so it runs alike by itself, and a run that is resumed evaluates alike.
    let (said, again) = desk.run_json(&["run/graph.resolved.toml", "--run-dir", "again"]);
    said.expect(0);
    assert_eq!(again["results"], expected["results"]);
    let resume = ["run", "train.toml", "--resume", "run", "-q"];
    let said = desk.framewise(&resume).expect(78);
    assert!(said.err.contains("stages.evaluate.use: "), "{}", said.err);
    desk.framewise(&[&resume[..], &set].concat()).expect(0);

    // The evaluated graph has no config of this name, so it is left alone.
    let optim =
        format!("use.optim={}", crate::support::run::root().join("configs/optim/paddle.toml").display());
    desk.framewise(&["render", "train.toml", "--set", &optim]).expect(0);
    let said = desk.framewise(&["render", "train.toml", "--set", "stages.evaluate.use=wide.toml"]).expect(78);
    assert!(said.err.contains("`wide.toml` is not of the form NAME=PATH"), "{}", said.err);
}

#[test]
fn a_stream_that_every_evaluation_would_read_is_refused_before_the_first_step() {
    let desk = desk();
    std::fs::remove_file(desk.path("test.tfrecord")).unwrap();
    make_pipe(&desk.path("test.tfrecord"));
    let said = desk.framewise(&["run", "train.toml", "--run-dir", "run"]).expect(78);
    assert!(said.err.contains("test.tfrecord is a stream (a pipe or a device)"), "{}", said.err);
    assert!(said.err.contains("each evaluation reads its input again"), "{}", said.err);
    assert!(!desk.path("run").exists());
}

#[test]
fn ranges_of_synthetic_videos_are_known_to_check() {
    let desk = Desk::new();
    let graph = graph("synthesize.toml");
    for (set, message) in [
        ("noise=17", "`noise`"),
        ("min_frames=301", "min_frames = 301 is more than max_frames = 300"),
        ("classes=1000000", "classes = 1000000 of 1152 features need"),
        ("max_frames=1000000", "max_frames = 1000000 makes videos of 1152000000 bytes"),
    ] {
        let set = format!("stages.videos.{set}");
        let said = desk.framewise(&["render", &graph, "--set", &set]).expect(78);
        assert!(said.err.contains(message) && said.err.contains("--set:1:"), "{set}: {}", said.err);
    }
    desk.framewise(&["render", &graph, "--set", "stages.videos.noise=16"]).expect(0);
}
