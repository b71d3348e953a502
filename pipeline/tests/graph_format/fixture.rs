//! Stage types for the graphs of these tests: reader → decode → batch → (join) → model → optimizer → writer.

use std::path::Path;

use framewise_pipeline::graph::{Diagnostics, Loaded, Override, ResolvedGraph, load_str};
use framewise_pipeline::{
    CheckContext, Component, Dim, Failure, InputPort, KeyKind, KeySpec, OutputPort, Payload, PayloadType,
    Ports, Registry, Settings, Stage, StageContext, Wiring,
};
use toml::Value;

macro_rules! payloads {
    ($($type:ident $name:literal),*) => {$(
        #[derive(Clone)]
        pub(crate) struct $type;
        impl Payload for $type { const NAME: &'static str = $name; }
    )*};
}
payloads!(
    Records "records", Examples "examples", Batches "batches", Pairs "pairs", Weights "weights",
    Logits "logits", Reports "reports", OtherBatches "batches"
);

/// A stage type that is made of functions.
pub(crate) struct Fake {
    name: &'static str,
    keys: fn() -> Vec<KeySpec>,
    ports: fn(&Settings) -> Ports,
    check: fn(&Settings) -> Vec<(&'static str, String)>,
}

impl Component for Fake {
    fn type_name(&self) -> &'static str {
        self.name
    }

    fn doc(&self) -> &'static str {
        "A stage of the tests."
    }

    fn keys(&self) -> Vec<KeySpec> {
        (self.keys)()
    }

    fn ports(&self, settings: &Settings) -> Ports {
        (self.ports)(settings)
    }

    fn check(&self, settings: &Settings, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        (self.check)(settings)
    }

    fn build(&self, _: &Settings, _: &mut Wiring, _: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        Err(Failure::internal("the stages of these tests are never run"))
    }
}

fn fixed(settings: &Settings, key: &str) -> Dim {
    Dim::Fixed(settings.integer(key))
}

fn input<T: Payload>(name: &'static str) -> InputPort {
    InputPort::new::<T>(name, PayloadType::of::<T>())
}

fn output<T: Payload>(name: &'static str, capacity: usize) -> OutputPort {
    OutputPort::new::<T>(name, PayloadType::of::<T>(), capacity)
}

fn reader_keys() -> Vec<KeySpec> {
    vec![
        KeySpec::new("files", KeyKind::Paths, "TFRecord files to read.").required(),
        KeySpec::new("order", KeyKind::OneOf(&["file", "random"]), "The order of the files.").default("file"),
        KeySpec::new("index", KeyKind::Path, "An index to read first."),
        KeySpec::new("cache", KeyKind::Path, "Where decoded files are kept; empty for nowhere.").default(""),
    ]
}

fn decode_keys() -> Vec<KeySpec> {
    vec![
        KeySpec::new("feature_size", KeyKind::Integer(1..=65536), "Features of a frame.").default(1024),
        KeySpec::new("workers", KeyKind::Integer(1..=64), "Threads that decode.")
            .default(4)
            .unit("threads")
            .free(),
        KeySpec::new("features", KeyKind::Texts, "Names of the features.").default("rgb"),
    ]
}

fn decode_ports(settings: &Settings) -> Ports {
    let frames = vec![Dim::Named("frames"), fixed(settings, "feature_size")];
    let examples = PayloadType::of::<Examples>().tensor("rgb", "u8", frames);
    Ports {
        inputs: vec![input::<Records>("records")],
        outputs: vec![OutputPort::new::<Examples>("examples", examples, 64)],
    }
}

fn batch_keys() -> Vec<KeySpec> {
    vec![
        KeySpec::new("size", KeyKind::Integer(1..=4096), "Videos in a batch.").default(160).unit("videos"),
        KeySpec::new("drop_last", KeyKind::Bool, "Drop the last batch when it is not full.").default(false),
    ]
}

fn batch_ports(settings: &Settings) -> Ports {
    let labels = vec![fixed(settings, "size"), Dim::Named("classes")];
    let batches = PayloadType::of::<Batches>().tensor("labels", "f32", labels);
    let batches = OutputPort::new::<Batches>("batches", batches, 2).shaped_like("examples");
    Ports { inputs: vec![input::<Examples>("examples")], outputs: vec![batches] }
}

fn join_ports(_: &Settings) -> Ports {
    Ports {
        inputs: vec![
            input::<Batches>("left"),
            input::<Batches>("right"),
            input::<Weights>("extra").optional(),
        ],
        outputs: vec![output::<Pairs>("pairs", 2)],
    }
}

fn model_keys() -> Vec<KeySpec> {
    vec![
        KeySpec::new("feature_size", KeyKind::Integer(1..=65536), "Features of a frame.").default(1024),
        KeySpec::new("hidden", KeyKind::Integer(1..=65536), "Hidden size.").default(2048),
        KeySpec::new("groups", KeyKind::Integer(1..=1024), "Groups of the hidden size.").default(8),
        KeySpec::new("dropout", KeyKind::Float(0.0..=1.0), "Share dropped.").default(0.5),
        KeySpec::new("betas", KeyKind::Floats(0.0..=1.0), "Decay rates.")
            .default(Value::Array(vec![Value::Float(0.9), Value::Integer(1)])),
        KeySpec::new("devices", KeyKind::Texts, "Devices to run on.").default("cpu"),
        KeySpec::new("layers", KeyKind::Integers(1..=100), "Layer sizes."),
    ]
}

fn model_ports(settings: &Settings) -> Ports {
    let frames = vec![Dim::Named("frames"), fixed(settings, "feature_size")];
    let batches = PayloadType::of::<Batches>().tensor("rgb", "u8", frames);
    let logits =
        PayloadType::of::<Logits>().tensor("logits", "f32", vec![Dim::Named("videos"), Dim::Fixed(25)]);
    Ports {
        inputs: vec![InputPort::new::<Batches>("batches", batches), input::<Weights>("weights").optional()],
        outputs: vec![OutputPort::new::<Logits>("logits", logits, 1), output::<Reports>("reports", 16)],
    }
}

fn model_check(settings: &Settings) -> Vec<(&'static str, String)> {
    if settings.integer("hidden").is_multiple_of(settings.integer("groups").max(1)) {
        return Vec::new();
    }
    vec![("groups", "`groups` must divide `hidden`\n  a detail".to_owned())]
}

fn optimizer_ports(_: &Settings) -> Ports {
    Ports {
        inputs: vec![input::<Logits>("gradients")],
        outputs: vec![output::<Reports>("reports", 16), output::<Weights>("weights", 1).delayed()],
    }
}

fn writer_keys() -> Vec<KeySpec> {
    vec![
        KeySpec::new("path", KeyKind::Path, "The file to write.").required(),
        KeySpec::new("note", KeyKind::Text, "A text.").default(""),
        KeySpec::new("log", KeyKind::OutputPath, "A file to write in the run directory.").default("log.txt"),
    ]
}

fn keeper_keys() -> Vec<KeySpec> {
    vec![
        KeySpec::new("file", KeyKind::OutputPath, "A file to write."),
        KeySpec::new("directory", KeyKind::OutputDirectory, "A directory to write to."),
        KeySpec::new("reads", KeyKind::Paths, "Files to read."),
    ]
}

/// The keys of `coffee`: `sugar` applies only to the rich kind, and `cups` has another default there.
fn coffee_keys() -> Vec<KeySpec> {
    vec![
        KeySpec::new("sugar", KeyKind::Integer(1..=9), "Lumps of sugar.")
            .default(3)
            .only_with("kind", &["rich"]),
        KeySpec::new("cups", KeyKind::Integer(1..=9), "Cups.").default(1).default_with("kind", &["rich"], 2),
        KeySpec::new("kind", KeyKind::OneOf(&["plain", "rich"]), "Its kind.").default("plain"),
    ]
}

fn no_keys() -> Vec<KeySpec> {
    Vec::new()
}

fn fake(name: &'static str, keys: fn() -> Vec<KeySpec>, ports: fn(&Settings) -> Ports) -> Fake {
    Fake { name, keys, ports, check: |_| Vec::new() }
}

/// A registry of the types above. `coffee` has keys that depend on another key, `relay` takes and sends batches, and
/// `other_batch` sends another type with the same name.
pub(crate) fn registry() -> Registry {
    Registry::new()
        .opening("s3")
        .with(fake("reader", reader_keys, |_| Ports {
            inputs: Vec::new(),
            outputs: vec![output::<Records>("records", 8)],
        }))
        .with(fake("decode", decode_keys, decode_ports))
        .with(fake("batch", batch_keys, batch_ports))
        .with(fake("relay", no_keys, |_| Ports {
            inputs: vec![input::<Batches>("batches")],
            outputs: vec![output::<Batches>("batches", 4).shaped_like("batches")],
        }))
        .with(fake("other_batch", no_keys, |_| Ports {
            inputs: vec![input::<Examples>("examples")],
            outputs: vec![output::<OtherBatches>("batches", 4)],
        }))
        .with(fake("join", no_keys, join_ports))
        .with(Fake { name: "model", keys: model_keys, ports: model_ports, check: model_check })
        .with(fake("optimizer", no_keys, optimizer_ports))
        .with(fake("echo", no_keys, |_| Ports {
            inputs: vec![input::<Weights>("weights")],
            outputs: vec![output::<Weights>("weights", 1).delayed()],
        }))
        .with(fake("writer", writer_keys, |_| Ports {
            inputs: vec![input::<Logits>("logits")],
            outputs: Vec::new(),
        }))
        .with(fake("keeper", keeper_keys, |_| Ports::default()))
        .with(fake("coffee", coffee_keys, |_| Ports::default()))
        .with(fake("report", no_keys, |_| Ports {
            inputs: vec![input::<Reports>("reports")],
            outputs: Vec::new(),
        }))
}

/// A training loop without mistakes.
pub(crate) const TRAIN: &str = r#"[graph]
name = "train"
seed = 7

[stages.videos]
type = "reader"
files = ["data/train*.tfrecord", "@list.txt", "s3://bucket/x"]

[stages.decode]
type = "decode"
from = "videos"

[stages.batch]
type = "batch"
from = "decode"
size = 32
capacity = 3

[stages.forward]
type = "model"
from = { batches = "batch", weights = "optimizer.weights" }
dropout = 0

[stages.optimizer]
type = "optimizer"
from = "forward"

[stages.report]
type = "report"
from = "optimizer"
"#;

pub(crate) fn load(text: &str) -> Result<Loaded, Diagnostics> {
    load_str(Path::new("g.toml"), text, &registry(), &[])
}

pub(crate) fn load_with(text: &str, sets: &[&str]) -> Result<Loaded, Diagnostics> {
    let overrides = sets.iter().map(|s| s.parse().expect("of the form KEY=VALUE"));
    load_str(Path::new("g.toml"), text, &registry(), &overrides.collect::<Vec<Override>>())
}

pub(crate) fn graph(text: &str) -> ResolvedGraph {
    load(text).map(|l| l.graph).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

/// The text that `check` prints for a graph with mistakes.
pub(crate) fn errors(text: &str) -> String {
    load(text).map(|_| ()).expect_err("the graph has mistakes").render(false)
}
