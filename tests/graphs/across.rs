//! Law: `check` also finds mistakes that show only when several stages are looked at together, or a graph and the graph
//! that it evaluates. Each mistake is reported with its place, before anything runs.

use framewise_stages::store;
use serde_json::{Value, json};

use crate::support::cli::{Desk, names};
use crate::support::trial;

/// A desk with `train.toml`, changed by these replacements, and `eval.toml`.
fn desk(changes: &[(&str, &str)]) -> Desk {
    let desk = Desk::new();
    trial::write_graphs(&desk, 3);
    let mut text = desk.read("train.toml");
    for (old, new) in changes {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    desk.write("train.toml", &text);
    desk
}

#[test]
fn graphs_that_evaluate_themselves_are_refused_with_their_place() {
    let desk = desk(&[("graph = \"eval.toml\"", "graph = \"train.toml\"")]);
    let text = desk.read("train.toml");
    desk.write("one.toml", &text.replace("graph = \"train.toml\"", "graph = \"two.toml\""));
    desk.write("two.toml", &text.replace("graph = \"train.toml\"", "graph = \"one.toml\""));
    let line = |name: &str| {
        let text = desk.read(name);
        text.lines().position(|line| line.starts_with("graph = ")).unwrap() + 1
    };
    for (name, inner) in [("train.toml", "train.toml"), ("one.toml", "two.toml"), ("two.toml", "one.toml")] {
        for verb in ["check", "render", "graph", "run"] {
            let said = desk.framewise(&[verb, name]).expect(78);
            assert!(said.err.contains(&format!("{name}:{}:", line(name))), "{verb} {name}: {}", said.err);
            assert!(said.err.contains(&format!("{inner}:{}:", line(inner))), "{verb} {name}: {}", said.err);
            assert!(said.err.contains("this graph has an `evaluate` stage itself"), "{verb}: {}", said.err);
        }
    }
    assert!(!desk.path("runs").exists());
}

#[test]
fn the_mistakes_of_an_evaluated_graph_are_told_at_their_places_in_it() {
    let desk = desk(&[]);
    let text = desk.read("eval.toml");
    let wrong = text.replace("type = \"nextvlad_forward\"", "type = \"nextvlad_foward\"");
    let wrong = wrong.replace("size = 30", "size = \"many\"");
    assert!(wrong.contains("nextvlad_foward") && wrong.contains("many"), "{text}");
    desk.write("eval.toml", &wrong);
    let line = |name: &str, part: &str| {
        let line = desk.read(name).lines().position(|line| line.contains(part));
        json!(line.unwrap_or_else(|| panic!("{part} in {name}")) + 1)
    };
    let said = desk.framewise(&["check", "--format", "json", "train.toml"]).expect(78);
    let found: Value = serde_json::from_str(&said.out).unwrap();
    let errors = found["graphs"][0]["errors"].as_array().unwrap();
    let parts = ["size = \"many\"", "nextvlad_foward"];
    assert_eq!(errors.len(), parts.len(), "{found:#}");
    for (error, part) in errors.iter().zip(parts) {
        assert_eq!((&error["file"], &error["line"]), (&json!("eval.toml"), &line("eval.toml", part)));
        let outer = &error["places"][0];
        assert_eq!(
            (&outer["file"], &outer["line"]),
            (&json!("train.toml"), &line("train.toml", "graph = \"eval.toml\""))
        );
    }
    assert_eq!(errors[1]["label"], json!("did you mean `nextvlad_forward`?"));
    // The text for people counts them, and a graph that is not there is told where it is named.
    let said = desk.framewise(&["check", "train.toml"]).expect(78);
    assert!(said.err.contains("2 errors in train.toml"), "{}", said.err);
    std::fs::remove_file(desk.path("eval.toml")).unwrap();
    let said = desk.framewise(&["check", "train.toml"]).expect(66);
    let place = format!("train.toml:{}:", line("train.toml", "graph = \"eval.toml\""));
    assert!(said.err.contains(&place) && said.err.contains("eval.toml` cannot be opened"), "{}", said.err);
}

#[test]
fn a_metric_that_nothing_measures_is_refused() {
    let unknown = desk(&[("best = \"gap\"", "best = \"accuracy\"")]);
    let said = unknown.framewise(&["check", "train.toml"]).expect(78);
    assert!(
        said.err.contains("no evaluation measures `accuracy`: there are hit_at_1, perr, gap, map, loss"),
        "{}",
        said.err
    );
    let direct = desk(&[("from = \"evaluate\"", "from = \"optimizer.states\"")]);
    let said = direct.framewise(&["check", "train.toml"]).expect(78);
    assert!(said.err.contains("nothing measures `gap` before this stage"), "{}", said.err);
    assert!(said.err.contains("put an `evaluate` stage between the two"), "{}", said.err);
    let needless = desk(&[("best = \"gap\"", "best_is = \"lowest\"")]);
    let said = needless.framewise(&["check", "train.toml"]).expect(78);
    assert!(said.err.contains("it has no effect without `best`"), "{}", said.err);
}

#[test]
fn a_result_of_ones_own_needs_a_direction_and_has_to_be_measured() {
    let desk = desk(&[("best = \"gap\"", "best = \"accuracy\"\nbest_is = \"highest\"")]);
    desk.framewise(&["check", "train.toml"]).expect(0);
    let said = desk.framewise(&["run", "train.toml", "--run-dir", "run", "-q"]).expect(78);
    assert!(said.err.contains("best = \"accuracy\": the evaluation gives no such number"), "{}", said.err);
}

#[test]
fn the_best_checkpoint_by_loss_is_the_one_with_the_lowest() {
    for (direction, sign) in [("", 1.0), ("\nbest_is = \"highest\"", -1.0)] {
        let best = format!("best = \"loss\"{direction}");
        let desk = desk(&[("best = \"gap\"", best.as_str()), ("keep_last = 3", "keep_last = 100")]);
        desk.framewise(&["run", "train.toml", "--run-dir", "run", "-q"]).expect(0);
        let directory = desk.path("run/checkpoints");
        let loss = |name: &str| store::load(&directory.join(name)).unwrap().metrics.get("loss").copied();
        let steps = names(&directory).into_iter().filter(|name| name.starts_with("step-"));
        let measured: Vec<f64> = steps.filter_map(|name| loss(&name)).collect();
        assert!(measured.len() >= 2, "{measured:?}");
        let wanted = measured.iter().copied().min_by(|a, b| (sign * a).total_cmp(&(sign * b))).unwrap();
        assert_eq!(loss("best"), Some(wanted), "{measured:?}");
    }
}

#[test]
fn an_evaluated_graph_of_another_model_is_refused() {
    let desk = desk(&[("graph = \"eval.toml\"", "graph = \"other.toml\"")]);
    let eval = desk.read("eval.toml");
    let tiny = desk.read("tiny.toml");
    desk.write("wide.toml", &tiny.replace("hidden = 16", "hidden = 32"));
    desk.write("other.toml", &eval.replace("\"tiny.toml\"", "\"wide.toml\""));
    let said = desk.framewise(&["check", "train.toml"]).expect(78);
    assert!(
        said.err.contains("other.toml does not measure the model that stage `optimizer` trains"),
        "{}",
        said.err
    );
    assert!(said.err.contains("is sent where"), "{}", said.err);
    desk.framewise(&["check", "other.toml"]).expect(0);
}

#[test]
fn missing_files_of_an_evaluation_end_the_run_before_its_first_step() {
    let desk = desk(&[]);
    std::fs::remove_file(desk.path("test.tfrecord")).unwrap();
    let said = desk.framewise(&["run", "train.toml", "--run-dir", "run"]).expect(66);
    assert!(said.err.contains("error: stage `videos`: "), "{}", said.err);
    assert!(said.err.contains("stage `evaluate` runs this graph"), "{}", said.err);
    assert!(said.err.contains("test.tfrecord"), "{}", said.err);
    assert!(!desk.path("run").exists(), "a run that could not begin leaves nothing");
    // An evaluation that is never due needs no files.
    let never = ["--set", "stages.evaluate.every_epochs=0", "--set", "stages.videos.epochs=1"];
    desk.framewise(&[&["run", "train.toml", "--run-dir", "run", "-q"], &never[..]].concat()).expect(0);
}

#[test]
fn settings_that_are_hardly_meant_are_warned_of() {
    let desk = desk(&[]);
    for (set, warning) in [
        ("stages.shard.shards=31", "31 shards cannot be made of a batch of 30 videos, so there are only 30"),
        ("stages.shard.shards=30", "leaves shards of a single video"),
        ("stages.optimizer.learning_rate=0", "with a learning rate of 0 nothing is learned"),
        ("stages.optimizer.learning_rate=5", "a learning rate of 5 is far above"),
        (
            "stages.optimizer.milestone_epochs=[1,3,51]",
            "the milestones 3, 51 are never reached: stage `videos` has 3 epochs",
        ),
    ] {
        let mut text = desk.read("train.toml");
        let (key, value) = set.rsplit_once('=').unwrap();
        let (stage, key) = key.rsplit_once('.').unwrap();
        let header = format!("[{stage}]\n");
        if key == "shards" {
            text = text.replace("shards = 1\n", "");
        }
        let more = if key == "milestone_epochs" { "milestone_factors = [0.5, 0.3, 0.1]\n" } else { "" };
        text = text.replace(&header, &format!("{header}{key} = {value}\n{more}"));
        desk.write("changed.toml", &text);
        let said = desk.framewise(&["check", "changed.toml"]).expect(0);
        assert!(said.err.contains(warning), "{set}: {}", said.err);
    }
    // Milestones of the preset that lie beyond the end are the only remark on the graph as it is.
    let said = desk.framewise(&["check", "train.toml"]).expect(0);
    assert_eq!(said.err.matches("warning").count(), 1, "{}", said.err);
    assert!(said.err.contains("the milestones 36, 51 are never reached"), "{}", said.err);
}
