//! Laws: a `--set` of a `type` adds a stage, and one of `from.PORT` connects one port and no other. What is wrong with a
//! `--set` is shown with a caret in the option's text.

use crate::fixture::{TRAIN, load_with};
use crate::mistakes::LINE;

/// The edges of a graph as `stage.port -> stage.port`.
fn edges(text: &str, sets: &[&str]) -> Vec<String> {
    let graph = load_with(text, sets).map(|l| l.graph).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let end = |(stage, port): (usize, usize), is_input: bool| {
        let stage = &graph.stages[stage];
        let port = if is_input { stage.ports.inputs[port].name } else { stage.ports.outputs[port].name };
        format!("{}.{port}", stage.name)
    };
    graph.edges.iter().map(|e| format!("{} -> {}", end(e.from, false), end(e.to, true))).collect()
}

#[track_caller]
fn refused(text: &str, sets: &[&str], count: usize, parts: &[&str]) {
    let found = load_with(text, sets).map(|_| ()).expect_err("a mistake");
    let shown = found.render(false);
    assert_eq!(found.errors(), count, "{shown}");
    for part in parts {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
}

#[test]
fn a_stage_is_added_whatever_the_order_of_its_keys() {
    let sets = [
        "stages.second.path=second.csv",
        "stages.second.from=model",
        "stages.second.type=writer",
        "stages.second.log=second.txt",
    ];
    let edges = edges(LINE, &sets);
    assert!(edges.contains(&"model.logits -> out.logits".to_owned()), "{edges:?}");
    assert!(edges.contains(&"model.logits -> second.logits".to_owned()), "{edges:?}");
    let graph = load_with(LINE, &sets).expect("no mistakes").graph;
    assert_eq!(graph.stages.last().map(|s| s.name.as_str()), Some("second"));
}

#[test]
fn an_added_stage_is_checked_as_any_other() {
    refused(
        LINE,
        &["stages.second.type=writr"],
        1,
        &["--set:1:20", "there is no stage type `writr`", "did you mean `writer`?"],
    );
    refused(
        LINE,
        &["stages.second.type=writer", "stages.second.log=second.txt"],
        2,
        &["--set:1:8", "lacks the key `path`", "the input port `logits` of stage `second` is not connected"],
    );
    refused(LINE, &["stages.a b.type=report"], 2, &["--set:1:8", "\"a b\" cannot be the name of a stage"]);
}

#[test]
fn a_graph_may_consist_of_added_stages() {
    assert_eq!(
        edges("", &["stages.r.type=reader", "stages.r.files=x", "stages.d.type=decode", "stages.d.from=r"]),
        ["r.records -> d.records"]
    );
}

#[test]
fn one_port_is_connected_anew_in_a_table() {
    let echo = "[stages.echo]\ntype = \"echo\"\nfrom = \"optimizer.weights\"\n";
    let text = format!("{TRAIN}{echo}");
    let before = edges(&text, &[]);
    let after = edges(&text, &["stages.forward.from.weights=echo.weights"]);
    let changed: Vec<_> = after.iter().filter(|edge| !before.contains(edge)).collect();
    assert_eq!(changed, ["echo.weights -> forward.weights"]);
    assert_eq!(after.len(), before.len());
}

#[test]
fn one_port_is_connected_beside_a_bare_from_or_without_any() {
    let join = "[stages.join]\ntype = \"join\"\n";
    let plain = format!("{LINE}{join}from = \"batch\"\n");
    let added = edges(&plain, &["stages.join.from.right=batch"]);
    assert!(added.contains(&"batch.batches -> join.left".to_owned()), "{added:?}");
    assert!(added.contains(&"batch.batches -> join.right".to_owned()), "{added:?}");
    // The port that the bare name stands for may be set, too.
    let relay = "[stages.relay]\ntype = \"relay\"\nfrom = \"batch\"\n";
    let sets = ["stages.join.from.right=batch", "stages.join.from.left=relay"];
    let moved = edges(&format!("{plain}{relay}"), &sets);
    assert!(moved.contains(&"relay.batches -> join.left".to_owned()), "{moved:?}");
    assert!(!moved.contains(&"batch.batches -> join.left".to_owned()), "{moved:?}");
    // Without any `from`, the set ports are the only ones.
    let none = format!("{LINE}{join}");
    let made = edges(&none, &["stages.join.from.left=batch", "stages.join.from.right=batch"]);
    assert_eq!(made.iter().filter(|edge| edge.contains("-> join.")).count(), 2, "{made:?}");
    // A later `from` replaces what was set before it.
    refused(
        &none,
        &["stages.join.from.left=batch", "stages.join.from.right=batch", "stages.join.from=batch"],
        1,
        &["the input port `right` of stage `join` is not connected"],
    );
}

#[test]
fn mistakes_in_a_port_are_shown_in_the_option() {
    let at = |set: &str, parts: &[&str]| refused(TRAIN, &[set], 1, parts);
    at(
        "stages.forward.from.weigths=optimizer.weights",
        &["--set:1:21", "`model` has no input port `weigths`", "did you mean `weights`?"],
    );
    at("stages.forward.from.weights=optimiser", &["--set:1:29", "there is no stage `optimiser`"]);
    at("stages.forwrd.from.weights=x", &["--set:1:8", "there is no stage `forwrd`", "did you mean"]);
    at("stages.forward.from.weights.x=y", &["--set:1:1", "`stages.STAGE.from.PORT`"]);
    at("stages.forward.form.weights=y", &["--set:1:1", "nothing has this name"]);
}

#[test]
fn a_wrong_value_is_shown_with_a_caret_below_the_options_text() {
    let found = load_with(LINE, &["stages.batch.size=many"]).map(|_| ()).expect_err("a mistake");
    let shown = found.render(false);
    let lines: Vec<&str> = shown.lines().collect();
    let text = lines.iter().position(|l| l.contains("│ stages.batch.size=many")).expect("the option's text");
    let (under, value) = (lines[text + 1].find('^'), lines[text].find("many"));
    assert_eq!(under, value, "{shown}");
    assert!(lines[text + 1].contains("^^^^"), "{shown}");
}
