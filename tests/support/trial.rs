//! A training run of the binary that lasts a second or two, on bundled data with bad records in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use framewise_stages::store;
use serde_json::Value;

use crate::support::cli::{Desk, data};
use crate::support::run::root;

/// What a run wrote that does not depend on the clock.
#[derive(Debug, PartialEq)]
pub(crate) struct Results {
    /// The files of the last checkpoint.
    weights: Vec<u8>,
    moments: Vec<u8>,
    /// The numbers of the last evaluation, as the checkpoint keeps them.
    measured: BTreeMap<String, f64>,
    pub(crate) step: u64,
    /// The lines of `metrics.jsonl` by kind, without the speeds.
    training: Vec<Value>,
    evaluations: Vec<Value>,
    /// The lines of `rejected.jsonl`, sorted, because two stages write them.
    pub(crate) rejected: Vec<String>,
}

/// The bad records of [`write_data`], sorted, as (stage, file, record, reason).
pub(crate) const BAD: [(&str, &str, u64, &str); 4] = [
    ("decode", "part-1.tfrecord", 5, "bad_proto"),
    ("decode", "part-2.tfrecord", 30, "no_frames"),
    ("videos", "part-0.tfrecord", 10, "data_crc"),
    ("videos", "part-2.tfrecord", 90, "truncated"),
];

/// The framed records of a plain file.
pub(crate) fn frames(path: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let (mut frames, mut rest) = (Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        let (frame, after) = rest.split_at(8 + 4 + length + 4);
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

/// Writes `part-0.tfrecord` to `part-2.tfrecord` with the 270 training utterances, four bad records among them, and
/// `test.tfrecord` with 60 good ones.
pub(crate) fn write_data(desk: &Desk) {
    let good = frames(&data("japanese_vowels/train.tfrecord"));
    let mut parts: Vec<Vec<_>> = good.chunks(90).map(<[_]>::to_vec).collect();
    parts[0][10][40] ^= 1;
    parts[1].insert(5, frames(&data("golden/tfrecord/garbage_payload.tfrecord")).swap_remove(1));
    parts[2].insert(30, frames(&data("golden/tfrecord/zero_frames.tfrecord")).swap_remove(0));
    let last = parts[2].last_mut().unwrap();
    last.truncate(last.len() - 30);
    for (number, part) in parts.iter().enumerate() {
        std::fs::write(desk.path(&format!("part-{number}.tfrecord")), part.concat()).unwrap();
    }
    let test = frames(&data("japanese_vowels/test.tfrecord"));
    std::fs::write(desk.path("test.tfrecord"), test[..60].concat()).unwrap();
}

/// Writes the data, `train.toml`, which trains on it for `epochs`, and `eval.toml`, which measures.
pub(crate) fn write_graphs(desk: &Desk, epochs: u64) {
    write_data(desk);
    desk.write(
        "tiny.toml",
        "clusters = 4\naudio_clusters = 4\ngroups = 2\naudio_groups = 2\nhidden = 16\nexpansion = 2\n\
         gating_reduction = 4\ndrop_rate = 0.5\n",
    );
    let configs = root().join("configs");
    let configs = configs.display();
    let head = |name: &str| {
        format!(
            "[graph]\nname = \"{name}\"\nseed = 7\n\n[use]\ndata = \"{configs}/data/japanese-vowels.toml\"\n\
             model = \"tiny.toml\"\noptim = \"{configs}/optim/japanese-vowels.toml\"\n\
             devices = \"{configs}/device/cpu.toml\"\n\n"
        )
    };
    let train = head("trial")
        + &format!(
            "[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = [\"part-*.tfrecord\"]\nepochs = {epochs}\n"
        )
        + r#"shuffle_files = true
on_error = "skip"

[stages.decode]
type = "yt8m_decode"
from = "videos"
config = "data"
workers = 2
on_error = "skip"

[stages.shuffle]
type = "shuffle"
from = "decode"
buffer = 100

[stages.batch]
type = "batch"
from = "shuffle"
size = 30

[stages.shard]
type = "shard"
from = "batch"
shards = 1

[stages.forward]
type = "nextvlad_forward"
from = { batches = "shard", weights = "optimizer.weights" }
config = ["data", "model", "devices"]

[stages.loss]
type = "loss"
from = "forward"

[stages.backward]
type = "backward"
from = "loss.losses"

[stages.all_reduce]
type = "all_reduce"
from = "backward"

[stages.optimizer]
type = "optimizer"
from = "all_reduce"
config = ["data", "model", "optim", "devices"]

[stages.report]
type = "report"
from = { predictions = "loss.predictions", states = "optimizer.states" }
every_steps = 1

[stages.evaluate]
type = "evaluate"
from = "optimizer.states"
graph = "eval.toml"

[stages.checkpoint]
type = "checkpoint"
from = "evaluate"
every_steps = 2
keep_last = 3
best = "gap"
"#;
    desk.write("train.toml", &train);
    let eval =
        head("trial-eval").lines().filter(|line| !line.starts_with("optim")).collect::<Vec<_>>().join("\n")
            + r#"

[stages.videos]
type = "tfrecord_reader"
files = ["test.tfrecord"]

[stages.decode]
type = "yt8m_decode"
from = "videos"
config = "data"

[stages.batch]
type = "batch"
from = "decode"
size = 30

[stages.weights]
type = "load_weights"
path = "run"
config = ["data", "model"]

[stages.forward]
type = "nextvlad_forward"
from = { batches = "batch", weights = "weights" }
config = ["data", "model", "devices"]
mode = "evaluate"

[stages.predict]
type = "predict"
from = "forward"

[stages.metrics]
type = "metrics"
from = "predict"
"#;
    desk.write("eval.toml", &eval);
}

/// The command `framewise run train.toml` for a new directory, or for resuming in one. What it prints goes to
/// `NAME.out` and `NAME.err`.
pub(crate) fn command(desk: &Desk, run: &str, resume: bool) -> Command {
    let place = if resume { "--resume" } else { "--run-dir" };
    let mut command = desk.command(&["run", "-q", "--format", "json", "train.toml", place, run]);
    let file = |name: &str| std::fs::File::create(desk.path(name)).unwrap();
    command.stdout(file(&format!("{run}.out"))).stderr(file(&format!("{run}.err"))).stdin(Stdio::null());
    command
}

/// Waits for the end of a run, which must be a good one. Returns the printed result.
#[track_caller]
pub(crate) fn finish(desk: &Desk, run: &str, mut child: Child) -> Value {
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{run}: {}", desk.read(&format!("{run}.err")));
    serde_json::from_str(&desk.read(&format!("{run}.out"))).unwrap()
}

/// Reads what the run left.
pub(crate) fn results(run: &Path) -> Results {
    let newest = store::find(run).unwrap().path;
    let checkpoint = store::load(&newest).unwrap();
    let (mut training, mut evaluations) = (Vec::new(), Vec::new());
    for mut line in whole_lines(&run.join("metrics.jsonl"), false) {
        line.as_object_mut().unwrap().remove("examples_per_second");
        match line["kind"].as_str() {
            Some("train") => training.push(line),
            // How long the stages worked differs from run to run.
            Some("stages") => {}
            _ => evaluations.push(line),
        }
    }
    let mut rejected: Vec<_> =
        whole_lines(&run.join("rejected.jsonl"), false).iter().map(Value::to_string).collect();
    rejected.sort();
    Results {
        weights: std::fs::read(newest.join("weights.safetensors")).unwrap(),
        moments: std::fs::read(newest.join("moments.safetensors")).unwrap(),
        measured: checkpoint.metrics,
        step: checkpoint.step,
        training,
        evaluations,
        rejected,
    }
}

impl Results {
    /// Compares part by part, so that a failure says which part differs.
    #[track_caller]
    pub(crate) fn expect(&self, expected: &Self, context: &str) {
        assert_eq!(self.step, expected.step, "{context}: step");
        assert_eq!(self.training, expected.training, "{context}: training lines of metrics.jsonl");
        assert_eq!(self.evaluations, expected.evaluations, "{context}: evaluations in metrics.jsonl");
        assert_eq!(self.rejected, expected.rejected, "{context}: rejected.jsonl");
        assert_eq!(self.measured, expected.measured, "{context}: metrics of the checkpoint");
        assert!(self.weights == expected.weights, "{context}: weights.safetensors differ");
        assert!(self.moments == expected.moments, "{context}: moments.safetensors differ");
    }

    /// Asserts that each step stands once, from the first to the last, and each bad record of the data once.
    #[track_caller]
    pub(crate) fn check_complete(&self) {
        let steps: Vec<_> = self.training.iter().map(|line| line["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, (1..=self.step).collect::<Vec<_>>());
        let mut found: Vec<_> =
            self.rejected.iter().map(|line| lineage(&serde_json::from_str(line).unwrap())).collect();
        found.sort();
        let expected: Vec<_> = BAD
            .iter()
            .map(|(s, f, record, r)| ((*s).to_owned(), (*f).to_owned(), *record, (*r).to_owned()))
            .collect();
        assert_eq!(found, expected);
    }
}

/// The stage, file name, record and reason of a line of `rejected.jsonl`.
pub(crate) fn lineage(line: &Value) -> (String, String, u64, String) {
    let text = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}")).to_owned();
    let file = PathBuf::from(text("file")).file_name().unwrap().to_str().unwrap().to_owned();
    (text("stage"), file, line["record"].as_u64().unwrap(), text("reason"))
}

/// The lines of a log, each parsed. With `cut`, the log may have a last line without an end, which is left out.
#[track_caller]
pub(crate) fn whole_lines(path: &Path, cut: bool) -> Vec<Value> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && cut => String::new(),
        text => text.unwrap_or_else(|e| panic!("{}: {e}", path.display())),
    };
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    assert!(cut || end == text.len(), "{}: the last line is cut: {:?}", path.display(), &text[end..]);
    let parse = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line:?}", path.display()))
    };
    text[..end].lines().map(parse).collect()
}

/// Asserts that every checkpoint under its final name is whole to the last byte. Returns the steps of the checkpoints.
#[track_caller]
pub(crate) fn verified_checkpoints(run: &Path) -> Vec<u64> {
    let directory = run.join("checkpoints");
    if !directory.is_dir() {
        return Vec::new();
    }
    let entries = store::list(&directory).unwrap();
    for entry in &entries {
        assert!(entry.is_complete(), "{:?}", entry.problem);
        store::verify(&entry.path).unwrap_or_else(|e| panic!("{e}"));
    }
    entries.iter().map(|entry| entry.step).collect()
}

/// The hidden names below a directory, which unfinished writes leave. The lock is not among them.
pub(crate) fn leftovers(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') {
            if name != ".lock" {
                found.push(path);
            }
        } else if path.is_dir() && !path.is_symlink() {
            found.extend(leftovers(&path));
        }
    }
    found.sort();
    found
}
