//! A small data set for each test, the runs on it, and what two runs must have in common.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use framewise_pipeline::engine::{Outcome, Pipeline, RunError, RunOptions, Status};
use framewise_pipeline::graph;
use framewise_pipeline::stage::context::{Level, Observer};
use framewise_pipeline::{Resources, StopToken};
use framewise_stages::tfrecord::{Compression, ReaderOptions, RecordReader, RecordWriter};
use framewise_stages::{Resume, registry, store};
use serde_json::Value;

use crate::support::files::copy;
use crate::support::run::{load_path, root, set};

/// A data set of a test, and the runs on it.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) graph: PathBuf,
    pub(crate) overrides: Vec<String>,
}

/// The graph. There are 66 videos in three files, and the shuffle holds back 25 of them. An epoch has four steps, of
/// which the last one is smaller.
pub(crate) const FILES: usize = 3;
pub(crate) const PER_FILE: usize = 22;
pub(crate) const EPOCHS: u64 = 3;
pub(crate) const STEPS: u64 = 12;

impl Bench {
    pub(crate) fn new(more: &[&str]) -> Self {
        Self::with(Compression::None, more)
    }

    pub(crate) fn with(compression: Compression, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let payloads = payloads();
        for (file, payloads) in payloads.chunks(PER_FILE).take(FILES).enumerate() {
            write(&dir.path().join(format!("train-{file}.tfrecord")), payloads, compression);
        }
        write(&dir.path().join("test.tfrecord"), &payloads[FILES * PER_FILE..], Compression::None);
        let mut overrides = vec![
            format!("stages.videos.files={}/train-*.tfrecord", dir.path().display()),
            format!("stages.evaluate.files={}", dir.path().join("test.tfrecord").display()),
            format!("stages.videos.epochs={EPOCHS}"),
        ];
        overrides.extend(set(&[
            "stages.shuffle.buffer=25",
            "stages.batch.size=20",
            "stages.batch.drop_last=false",
            "stages.evaluate.every_epochs=1",
            "stages.checkpoint.every_epochs=1",
            "stages.checkpoint.keep_last=100",
            "stages.report.every_steps=1",
        ]));
        overrides.extend(set(more));
        Self { dir, graph: root().join("graphs/quickstart.toml"), overrides }
    }

    pub(crate) fn file(&self, file: usize) -> PathBuf {
        self.dir.path().join(format!("train-{file}.tfrecord"))
    }

    pub(crate) fn run_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join("runs").join(name)
    }

    pub(crate) fn start(&self, name: &str, more: &[&str]) -> Outcome {
        done(self.attempt(name, false, more, Arc::default()).unwrap())
    }

    pub(crate) fn resume(&self, name: &str, more: &[&str]) -> Outcome {
        done(self.attempt(name, true, more, Arc::default()).unwrap())
    }

    /// Runs the graph from the start or from the newest checkpoint.
    pub(crate) fn attempt(
        &self,
        name: &str,
        resume: bool,
        more: &[&str],
        interruption: Arc<Interruption>,
    ) -> Result<Outcome, RunError> {
        let graph = load_path(&self.graph, &[self.overrides.clone(), set(more)].concat());
        let run_dir = self.run_dir(name);
        fs::create_dir_all(&run_dir).unwrap();
        let resources = Resources::default();
        if resume {
            let directory = store::find(&run_dir).unwrap().path;
            resources.insert(Resume { checkpoint: store::load(&directory).unwrap(), directory });
        }
        let options = RunOptions {
            run_dir: Some(run_dir),
            resolved_text: Arc::from(graph::render(&graph)),
            resources: Arc::new(resources),
            stop: interruption.stop.clone(),
            observer: interruption,
            ..RunOptions::default()
        };
        Ok(Pipeline::build(&graph, &registry(), &options)?.run())
    }

    /// Makes a second run directory with what the first one has now.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        copy(&self.run_dir(from), &self.run_dir(to));
    }

    /// Asserts that `name` holds a checkpoint equal to each one of `reference`, and the same log.
    pub(crate) fn assert_same(&self, reference: &str, name: &str, what: &str) {
        let (expected, found) = (self.run_dir(reference), self.run_dir(name));
        let steps = store::list(&expected.join("checkpoints")).unwrap();
        assert!(!steps.is_empty());
        for entry in steps {
            let step = entry.path.file_name().unwrap().to_str().unwrap();
            let other = found.join("checkpoints").join(step);
            assert!(other.is_dir(), "{what}: {step} is missing");
            for file in ["weights.safetensors", "moments.safetensors"] {
                let same = fs::read(entry.path.join(file)).unwrap() == fs::read(other.join(file)).unwrap();
                assert!(same, "{what}: {step}/{file} differs");
            }
            assert_eq!(manifest(&other), manifest(&entry.path), "{what}: {step}");
        }
        let best = |dir: &Path| fs::read_link(dir.join("checkpoints/best")).ok();
        assert_eq!(best(&found), best(&expected), "{what}");
        assert_eq!(log(&found), log(&expected), "{what}");
    }
}

pub(crate) fn payloads() -> Vec<Vec<u8>> {
    let path = root().join("tests/data/japanese_vowels/train.tfrecord");
    let mut reader = RecordReader::open(path, ReaderOptions::default()).unwrap();
    let all: Vec<_> =
        std::iter::from_fn(|| reader.next()).map(|record| record.unwrap().data.to_vec()).collect();
    // Every third utterance is taken: 90 utterances of all nine speakers.
    all.into_iter().step_by(3).collect()
}

pub(crate) fn write(path: &Path, payloads: &[Vec<u8>], compression: Compression) {
    let mut writer = RecordWriter::create(path, compression).unwrap();
    payloads.iter().for_each(|payload| writer.write(payload).unwrap());
    writer.finish().unwrap();
}

/// Changes a byte of a record's payload and nothing else.
pub(crate) fn damage(path: &Path, record: u64) {
    let mut reader = RecordReader::open(path, ReaderOptions::default()).unwrap();
    reader.skip(record).unwrap();
    let place = reader.origin().byte as usize + 12 + 9;
    let mut bytes = fs::read(path).unwrap();
    bytes[place] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

pub(crate) fn done(outcome: Outcome) -> Outcome {
    if let Status::Failed(error) = &outcome.status {
        panic!("{error}");
    }
    assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
    outcome
}

/// The manifest without the parts that depend on the text of the graph, in which workers and capacities stand.
fn manifest(checkpoint: &Path) -> Value {
    let text = fs::read_to_string(checkpoint.join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&text).unwrap();
    manifest.as_object_mut().unwrap().remove("crc32c").unwrap();
    manifest["files"].as_object_mut().unwrap().remove("graph.toml").unwrap();
    manifest
}

/// The lines of metrics.jsonl by kind and step, without the one value that depends on the clock. No step has two lines
/// of a kind.
fn log(run_dir: &Path) -> BTreeMap<(String, u64), Value> {
    let mut lines = BTreeMap::new();
    for line in fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap().lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("examples_per_second");
        let key = (line["kind"].as_str().unwrap().to_owned(), line["step"].as_u64().unwrap());
        assert!(lines.insert(key.clone(), line).is_none(), "{key:?} is logged twice");
    }
    lines
}

pub(crate) fn results(outcome: &Outcome) -> String {
    format!("{:?}", outcome.results)
}

pub(crate) fn rejected(outcome: &Outcome) -> Vec<(String, BTreeMap<&'static str, u64>)> {
    let readings = outcome.monitor.stages();
    readings.iter().map(|stage| (stage.name.clone(), stage.meter.read().rejected)).collect()
}

/// Stops a run when `report` has reported a step, as a user or a crash would.
#[derive(Default)]
pub(crate) struct Interruption {
    pub(crate) stop: StopToken,
    pub(crate) at: Option<u64>,
    pub(crate) hard: bool,
}

impl Observer for Interruption {
    fn message(&self, _level: Level, stage: &str, text: &str) {
        let Some(at) = self.at else { return };
        if stage == "report" && text.starts_with(&format!("step {at} ")) {
            if self.hard {
                self.stop.trip();
            } else {
                self.stop.request_finish();
            }
        }
    }
}
