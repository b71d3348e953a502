//! `run --trace`: the file that trace viewers open, and the rules for where it is written.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::cli::{Desk, data, names, vowels_graph};
use crate::support::trial;

/// The events of a trace, by kind (`ph`).
struct Trace {
    about: Value,
    events: Vec<Value>,
}

impl Trace {
    fn of(text: &str) -> Self {
        let mut whole: Value = serde_json::from_str(text).unwrap();
        let Value::Array(events) = whole["traceEvents"].take() else { panic!("there are no events") };
        Self { about: whole["otherData"].take(), events }
    }

    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(move |event| event["ph"] == kind)
    }

    /// The names of the tracks by their numbers.
    fn tracks(&self) -> BTreeMap<u64, String> {
        let named = self.of_kind("M").filter(|event| event["name"] == "thread_name");
        let track = |event: &Value| {
            (event["tid"].as_u64().unwrap(), event["args"]["name"].as_str().unwrap().to_owned())
        };
        named.map(track).collect()
    }

    /// The seconds of a category on each track, by its name.
    fn seconds(&self, category: &str) -> BTreeMap<String, f64> {
        let tracks = self.tracks();
        let mut seconds: BTreeMap<String, f64> = tracks.values().map(|name| (name.clone(), 0.0)).collect();
        for span in self.of_kind("X").filter(|span| span["cat"] == category) {
            let name = &tracks[&span["tid"].as_u64().unwrap()];
            *seconds.get_mut(name).unwrap() += span["dur"].as_f64().unwrap() / 1e6;
        }
        seconds
    }

    /// Checks the file against the Trace Event Format, as far as it is used.
    fn check(&self) {
        let tracks = self.tracks();
        for event in &self.events {
            assert!(event["pid"].is_u64() && event["name"].is_string(), "{event}");
            assert!(
                tracks.contains_key(&event["tid"].as_u64().unwrap()),
                "{event} is on a track without a name"
            );
            assert!(["M", "X", "s", "f"].iter().any(|kind| event["ph"] == *kind), "{event}");
        }
        // The spans of a track, in whole nanoseconds, neither overlap nor leave a gap.
        let mut last: BTreeMap<u64, i64> = BTreeMap::new();
        let nanoseconds = |value: &Value| (value.as_f64().unwrap() * 1e3).round() as i64;
        for span in self.of_kind("X") {
            let (begin, length) = (nanoseconds(&span["ts"]), nanoseconds(&span["dur"]));
            let end = last.entry(span["tid"].as_u64().unwrap()).or_insert(0);
            assert_eq!(begin, *end, "{span}");
            assert!(length > 0, "{span}");
            *end = begin + length;
        }
        let by_id = |kind| -> BTreeMap<u64, &Value> {
            self.of_kind(kind).map(|event| (event["id"].as_u64().unwrap(), event)).collect()
        };
        let (starts, finishes) = (by_id("s"), by_id("f"));
        assert!(starts.keys().eq(finishes.keys()), "every arrow has two ends");
        assert_eq!(starts.len(), self.of_kind("s").count(), "every arrow has a number of its own");
        for (id, start) in starts {
            let finish = finishes[&id];
            assert_eq!((&start["name"], &start["cat"]), (&finish["name"], &finish["cat"]));
            assert_eq!(finish["bp"], "e");
            assert!(start["ts"].as_f64() <= finish["ts"].as_f64(), "{start} and {finish}");
        }
        let count = |kind| Value::from(self.of_kind(kind).count());
        assert_eq!((&self.about["spans"], &self.about["arrows"]), (&count("X"), &count("s")));
    }
}

/// A desk with the graph `copy.toml`.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    desk
}

#[test]
fn the_trace_of_training_has_the_times_of_the_table_and_the_steps() {
    let desk = Desk::new();
    trial::write_graphs(&desk, 1);
    let args = ["train.toml", "--run-dir", "run", "--trace", "trace.json"];
    let (said, result) = desk.run_json(&args);
    let said = said.expect(0);
    let trace = Trace::of(&desk.read("trace.json"));
    trace.check();
    assert!(said.err.contains("trace trace.json: ") && said.err.contains(" arrows"), "{}", said.err);
    let stages = result["stages"].as_array().unwrap();
    assert!(
        trace
            .tracks()
            .into_values()
            .eq(stages.iter().map(|stage| stage["name"].as_str().unwrap().to_owned()))
    );
    let wall = result["wall_seconds"].as_f64().unwrap();
    for category in ["busy", "input_wait", "output_wait"] {
        let traced = trace.seconds(category);
        for stage in stages {
            let (name, share) = (stage["name"].as_str().unwrap(), stage[category].as_f64().unwrap());
            // Each decimal number in the file is exact to a fraction of a nanosecond.
            assert!((traced[name] - share * wall).abs() < 1e-6, "{category} of {name}: {} s", traced[name]);
        }
    }
    // A packet passes each edge for each item that its consumer has received, and for the mark of the epoch.
    let received =
        |name: &str| stages.iter().find(|stage| stage["name"] == name).unwrap()["items_in"].as_u64();
    let arrows =
        trace.of_kind("s").filter(|event| event["name"] == "shard.batches → forward.batches").count();
    assert!(trace.of_kind("s").any(|event| event["name"] == "optimizer.weights → forward.weights"));
    let tracks = trace.tracks();
    let steps_of = |name: &str| {
        let own = trace.of_kind("X").filter(|span| tracks[&span["tid"].as_u64().unwrap()] == name);
        let mut steps: Vec<u64> = own.filter_map(|span| span["args"]["step"].as_u64()).collect();
        steps.dedup();
        steps
    };
    let all: Vec<u64> = (1..=result["steps"].as_u64().unwrap()).collect();
    for stage in ["shard", "forward", "loss", "backward", "all_reduce", "optimizer"] {
        assert_eq!(steps_of(stage), all, "{stage}");
    }
    assert!(steps_of("videos").is_empty());
    assert_eq!(arrows as u64, received("loss").unwrap() + 1);
}

#[test]
fn the_closing_text_says_what_is_in_the_trace() {
    let desk = desk();
    let said = desk.framewise(&["run", "copy.toml", "--run-dir", "run", "--trace", "trace.json"]).expect(0);
    let trace = Trace::of(&desk.read("trace.json"));
    trace.check();
    let line = said.out.lines().find(|line| line.starts_with("trace ")).unwrap();
    assert!(line.ends_with(" trace.json"), "{line}");
    let extent = said.out.lines().last().unwrap();
    let words: Vec<String> = extent.split_whitespace().map(|word| word.replace(',', "")).collect();
    assert_eq!(
        words,
        [&trace.about["spans"].to_string(), "spans", &trace.about["arrows"].to_string(), "arrows"]
    );
    assert_eq!((&trace.about["graph"], &trace.about["spans_left_out"]), (&"copy".into(), &0.into()));
}

#[test]
fn a_run_that_fails_leaves_its_trace() {
    let desk = Desk::new();
    let graph = vowels_graph().replace("classes = 9", "classes = 3");
    desk.write("copy.toml", &graph);
    let said = desk.framewise(&["run", "copy.toml", "--run-dir", "run", "--trace", "trace.json"]).expect(65);
    assert!(said.out.contains("trace "), "{}", said.out);
    let trace = Trace::of(&desk.read("trace.json"));
    trace.check();
    assert!(trace.seconds("busy").values().all(|seconds| *seconds > 0.0));
}

#[test]
fn an_output_that_is_taken_or_no_file_is_refused_before_the_run() {
    let desk = desk();
    desk.write("mine", "precious");
    std::fs::create_dir(desk.path("folder")).unwrap();
    let data = data("japanese_vowels/train.tfrecord");
    for (path, code, why) in [
        ("folder", 73, "a directory, not a file"),
        ("none/trace.json", 73, "none/trace.json"),
        ("run/copy.tfrecord", 78, "--trace writes to it"),
        ("run/results.json", 78, "the run keeps its results.json there"),
        ("copy.toml", 78, "it is the graph"),
        (&*data, 78, "--trace writes to it"),
    ] {
        let before = names(&desk.path(""));
        let said = desk.framewise(&["run", "copy.toml", "--run-dir", "run", "--trace", path]).expect(code);
        assert!(said.err.contains(why), "{path}: {}", said.err);
        assert_eq!(names(&desk.path("")), before, "{path}: nothing is left of a run that did not begin");
    }
    let json = ["run", "copy.toml", "--run-dir", "run", "--format", "json", "--trace", "-"];
    assert!(desk.framewise(&json).expect(64).err.contains("--trace writes to standard output"));
    let both = ["run", "copy.toml", "--set", "stages.out.path=-", "--trace", "/dev/stdout"];
    assert!(desk.framewise(&both).expect(64).err.contains("both write to standard output"));
    assert_eq!(desk.read("mine"), "precious");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_streams_are_written_through() {
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::time::Duration;

    use crate::support::child;

    let desk = desk();
    desk.write("old.json", "old");
    symlink("old.json", desk.path("link")).unwrap();
    desk.framewise(&["run", "copy.toml", "--run-dir", "a", "--trace", "link"]).expect(0);
    assert!(desk.path("link").symlink_metadata().unwrap().is_symlink());
    Trace::of(&desk.read("old.json")).check();

    let said = desk.framewise(&["run", "copy.toml", "--run-dir", "b", "--trace", "-"]).expect(0);
    Trace::of(&said.out).check();
    assert!(said.err.contains("done in "), "the result goes where it does not disturb: {}", said.err);

    assert!(Command::new("mkfifo").arg(desk.path("fifo")).status().unwrap().success());
    let run = child::start(&desk, &["run", "copy.toml", "--run-dir", "c", "--trace", "fifo"]);
    // A reader that comes late holds up neither the run nor its results.
    let results = desk.path("c/results.json");
    child::wait_until("the results", || results.exists());
    let text = desk.read("fifo");
    child::end_within(Duration::from_secs(60), run).expect(0);
    Trace::of(&text).check();
    assert!(desk.path("fifo").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_takes_nothing_from_the_run() {
    let desk = desk();
    std::os::unix::fs::symlink("/dev/full", desk.path("full")).unwrap();
    let said = desk.framewise(&["run", "copy.toml", "--run-dir", "run", "--trace", "full"]).expect(73);
    assert!(said.err.contains("cannot write full: No space left"), "{}", said.err);
    assert!(said.out.contains("done in "), "{}", said.out);
    let files = names(&desk.path("run"));
    assert!(
        ["copy.tfrecord", "results.json", "stages.json"].iter().all(|file| files.iter().any(|f| f == file))
    );
    assert!(desk.path("full").symlink_metadata().unwrap().is_symlink());
}
