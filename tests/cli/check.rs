//! Laws of `check`: it reports the errors and warnings of all graphs at once and counts them. `--format json` carries
//! each of them with its place, whether the graph is right or not. `run --format json` carries the same for a run that
//! could not begin.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::cli::{Desk, Said, graph, graph_text, vowels_graph};

/// Runs `check` with this text on standard input.
fn check_stdin(desk: &Desk, args: &[&str], text: &str) -> Said {
    let mut command = desk.command(&[&["check"], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command line that is wrong ends the program before it reads.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    Said::of(child.wait_with_output().unwrap())
}

fn parsed(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}\n{}\n{}", said.out, said.err))
}

const WRONG: &str = r#"[stages.videos]
type = "tfrecord_reader"
files = "a.tfrecord"

[stages.decode]
type = "yt8m_decode"
from = "videos"
rgb_size = "12"
clases = 9

[stages.out]
type = "tfrecord_writer"
from = "decode"
path = "copy.tfrecord"
"#;

/// A stage whose output goes nowhere, about which there is a warning.
const IDLE: &str = "\n[stages.idle]\ntype = \"shuffle\"\nfrom = \"decode\"\n";

#[test]
fn json_has_every_error_with_its_place_label_and_hints() {
    let desk = Desk::new();
    desk.write("wrong.toml", WRONG);
    let said = desk.framewise(&["check", "--format", "json", "wrong.toml"]).expect(78);
    assert_eq!(said.err, "", "the errors stand in the JSON only");
    let found = parsed(&said);
    assert_eq!((&found["status"], &found["exit_code"]), (&json!("failed"), &json!(78)));
    let graph = &found["graphs"][0];
    assert_eq!((&graph["file"], &graph["status"]), (&json!("wrong.toml"), &json!("failed")));
    let errors = graph["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{found}");
    assert_eq!(graph["warnings"], json!([]));
    let place =
        |error: &Value| ["line", "column", "end_line", "end_column"].map(|key| error[key].as_u64().unwrap());
    // `rgb_size = "12"`: the value begins in column 12 and has four characters.
    assert_eq!(place(&errors[0]), [8, 12, 8, 16]);
    assert_eq!(errors[0]["file"], "wrong.toml");
    assert!(errors[0]["message"].as_str().unwrap().contains("must be a whole number"));
    assert_eq!(errors[0]["label"], "written without quotes?");
    let hints = errors[0]["hints"].as_array().unwrap();
    assert!(hints.iter().any(|hint| hint.as_str().unwrap().starts_with("`rgb_size`: ")), "{hints:?}");
    assert_eq!(place(&errors[1]), [9, 1, 9, 7]);
    assert_eq!(errors[1]["label"], "did you mean `classes`?");
}

#[test]
fn json_has_the_further_places_and_the_details_of_an_edge() {
    let desk = Desk::new();
    let path = graph("quickstart.toml");
    let args = ["check", "--format", "json", &path, "--set", "stages.decode.rgb_size=24"];
    let said = desk.framewise(&args).expect(78);
    let error = &parsed(&said)["graphs"][0]["errors"][0];
    let places = error["places"].as_array().unwrap();
    let of_set = places.iter().find(|place| place["file"] == "--set").unwrap();
    assert_eq!((&of_set["line"], &of_set["column"]), (&json!(1), &json!(24)));
    assert!(places.iter().any(|place| place["file"].as_str().unwrap().ends_with("japanese-vowels.toml")));
    let notes = error["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note.as_str().unwrap().starts_with("sent: ")), "{notes:?}");
}

#[test]
fn json_of_a_right_graph_has_its_warnings() {
    let desk = Desk::new();
    let text = vowels_graph() + IDLE;
    desk.write("g.toml", &text);
    let said = desk.framewise(&["check", "--format", "json", "g.toml"]).expect(0);
    let found = parsed(&said);
    assert_eq!((&found["status"], &found["exit_code"]), (&json!("ok"), &json!(0)));
    let graph = &found["graphs"][0];
    assert_eq!(
        [&graph["graph"], &graph["stages"], &graph["edges"], &graph["errors"]],
        [&json!("g"), &json!(4), &json!(3), &json!([])]
    );
    let warning = &graph["warnings"][0];
    assert!(warning["message"].as_str().unwrap().contains("`idle` goes nowhere"), "{warning}");
    let line = text.lines().position(|line| line == "[stages.idle]").unwrap() + 1;
    assert_eq!((&warning["line"], &warning["column"]), (&json!(line), &json!(1)));
    assert_eq!(said.err, "");
}

#[test]
fn several_graphs_are_checked_and_their_errors_counted() {
    let desk = Desk::new();
    desk.write("good.toml", &vowels_graph());
    desk.write("wrong.toml", WRONG);
    desk.write("empty.toml", "");
    let said = desk.framewise(&["check", "wrong.toml", "good.toml", "empty.toml"]).expect(78);
    assert!(said.out.contains("good.toml: ok (3 stages, 2 edges)"), "{}", said.out);
    assert!(said.err.contains("\n2 errors in wrong.toml\n"), "{}", said.err);
    assert!(said.err.contains("\n1 error in empty.toml\n"), "{}", said.err);
    assert!(said.err.ends_with("3 errors in 2 of 3 graphs\n"), "{}", said.err);
    let said = desk.framewise(&["check", "--format", "json", "none.toml", "good.toml", "wrong.toml"]);
    let found = parsed(&said.expect(66));
    let status: Vec<_> =
        found["graphs"].as_array().unwrap().iter().map(|g| g["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["failed", "ok", "failed"]);
    let missing = &found["graphs"][0]["errors"][0];
    assert!(missing["message"].as_str().unwrap().contains("none.toml"), "{missing}");
    assert!(missing["line"].is_null() && missing["file"].is_null());
}

#[test]
fn warnings_are_counted_beside_errors() {
    let desk = Desk::new();
    let text = vowels_graph().replace("path = ", "compression = \"zip\"\npath = ") + IDLE;
    desk.write("g.toml", &text);
    let err = desk.framewise(&["check", "g.toml"]).expect(78).err;
    assert_eq!((err.matches("warning: ").count(), err.matches("error: ").count()), (1, 1), "{err}");
    assert_eq!(err.lines().last(), Some("1 error and 1 warning in g.toml"));
}

#[test]
fn set_applies_to_every_graph() {
    let desk = Desk::new();
    desk.write("a.toml", &vowels_graph());
    desk.write("b.toml", &vowels_graph());
    let args = ["check", "a.toml", "b.toml", "--set", "stages.decode.rgb_size=0"];
    let err = desk.framewise(&args).expect(78).err;
    assert_eq!(err.matches("stages.decode.rgb_size=0").count(), 2, "{err}");
    desk.framewise(&["check", "a.toml", "--set", "stages.decode.rgb_size=13"]).expect(0);
}

#[test]
fn a_graph_on_standard_input_is_relative_to_the_working_directory() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("configs")).unwrap();
    desk.write("configs/data.toml", "rgb_size = 12\naudio_size = 12\nclasses = 9\n");
    let text = "[use]\ndata = \"configs/data.toml\"\n".to_owned()
        + &vowels_graph().replace("rgb_size = 12\naudio_size = 12\nclasses = 9\n", "config = \"data\"\n");
    let said = check_stdin(&desk, &["-"], &text).expect(0);
    assert_eq!(said.out, "<stdin>: ok (3 stages, 2 edges)\n");
    let said = check_stdin(&desk, &["-"], &text.replace("configs/", "conf/")).expect(78);
    assert!(said.err.contains("<stdin>:2:8"), "{}", said.err);
    assert!(said.err.ends_with("in <stdin>\n"), "{}", said.err);
    let said = check_stdin(&desk, &["--format", "json", "-"], WRONG).expect(78);
    assert_eq!(parsed(&said)["graphs"][0]["errors"][0]["file"], "<stdin>");
    let said = check_stdin(&desk, &["-", "-"], &text).expect(64);
    assert!(said.err.contains("only once"), "{}", said.err);
}

#[test]
fn a_run_that_cannot_begin_has_the_same_errors_in_its_json() {
    let desk = Desk::new();
    desk.write("wrong.toml", WRONG);
    let said = desk.framewise(&["check", "--format", "json", "wrong.toml"]);
    let checked = parsed(&said)["graphs"][0]["errors"].clone();
    let (said, result) = desk.run_json(&["wrong.toml"]);
    let said = said.expect(78);
    assert_eq!(result["status"], "failed");
    let error = &result["error"];
    assert_eq!((&error["exit_code"], &error["errors"]), (&json!(78), &checked));
    assert_eq!(error["warnings"], json!([]));
    assert!(error["message"].as_str().unwrap().starts_with("wrong.toml:8:12: "), "{error}");
    assert!(said.err.contains("2 errors in wrong.toml"), "people see them too: {}", said.err);
}

#[test]
fn the_repository_graphs_pass_as_json() {
    let text = graph_text("quickstart.toml");
    let desk = Desk::new();
    let said = check_stdin(&desk, &["--format", "json", "-"], &text).expect(0);
    assert_eq!(parsed(&said)["graphs"][0]["errors"], json!([]));
}
