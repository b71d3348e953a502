//! Laws: a correct graph resolves to what it says. Rendering a resolved graph and loading the text changes nothing.

use framewise_pipeline::edge::channel::EdgeLimits;
use framewise_pipeline::graph::{ResolvedGraph, render};

use crate::fixture::{TRAIN, errors, graph, load_with};

fn edges(graph: &ResolvedGraph) -> Vec<String> {
    let port = |stage: usize, name: &str| format!("{}.{name}", graph.stages[stage].name);
    graph
        .edges
        .iter()
        .map(|e| {
            let from = port(e.from.0, graph.stages[e.from.0].ports.outputs[e.from.1].name);
            let to = port(e.to.0, graph.stages[e.to.0].ports.inputs[e.to.1].name);
            format!("{from} {} {to}", if e.delayed { "~>" } else { "->" })
        })
        .collect()
}

#[test]
fn the_training_loop() {
    let graph = graph(TRAIN);
    assert_eq!(
        edges(&graph),
        [
            "videos.records -> decode.records",
            "decode.examples -> batch.examples",
            "batch.batches -> forward.batches",
            "optimizer.weights ~> forward.weights",
            "forward.logits -> optimizer.gradients",
            "optimizer.reports -> report.reports",
        ]
    );
    let bytes = 256 << 20;
    let limits: Vec<EdgeLimits> = graph.edges.iter().map(|e| e.limits).collect();
    let items = [8, 64, 3, 1, 1, 16];
    assert_eq!(limits, items.map(|items| EdgeLimits { items, bytes }));
    let shown: Vec<String> = graph.edges.iter().map(|e| e.payload.to_string()).collect();
    assert_eq!(
        shown,
        [
            "records",
            "examples {rgb u8[frames, 1024]}",
            "batches {labels f32[32, classes], rgb u8[frames, 1024]}",
            "weights",
            "logits {logits f32[videos, 25]}",
            "reports",
        ]
    );
}

/// A bare stage name means the stage's only output with the wanted payload, or otherwise its first output.
#[test]
fn output_meant_by_a_bare_name() {
    let text = TRAIN.replace("\"optimizer.weights\"", "\"optimizer\"");
    assert_eq!(edges(&graph(&text)), edges(&graph(TRAIN)));
    let wrong = TRAIN
        .replace("[stages.report]\ntype = \"report\"", "[stages.report]\ntype = \"writer\"\npath = \"x\"");
    assert!(errors(&wrong).contains("the payloads differ: `reports` is sent where `logits` is wanted"));
}

#[test]
fn other_ways_to_write_a_stage() {
    let text = r#"
stages.videos = { type = "reader", files = "x" }
stages.decode = { type = "decode", from.records = "videos" }
[stages.batch]
type = "batch"
[stages.batch.from]
examples = "decode.examples"
[stages.twice]
type = "join"
from = { left = "batch", right = "batch" }
"#;
    assert_eq!(
        edges(&graph(text)),
        [
            "videos.records -> decode.records",
            "decode.examples -> batch.examples",
            "batch.batches -> twice.left",
            "batch.batches -> twice.right",
        ]
    );
}

#[test]
fn rendering_changes_nothing() {
    let odd = r#"[graph]
name = "a \"b\" ${FRAMEWISE_NOT_SET:-c} $${d}"
stall_timeout = 90
memory = "${FRAMEWISE_NOT_SET:-3072KiB}"
[stages.r]
type = "reader"
files = ["a b", "c'd\"e", "é", "$${f}", "g\\h"]
order = "random"
[stages.d]
type = "decode"
from = "r"
features = ["multi\nline", "tab\t"]
capacity = 9
capacity_bytes = 77
"#;
    let ring = "[stages.a]\ntype = \"optimizer\"\nfrom = \"b\"\ncapacity = 5\n[stages.b]\ntype = \"model\"\nfrom = { batches = \"c\", weights = \"a\" }\n\
        [stages.r]\ntype = \"reader\"\nfiles = []\n[stages.d]\ntype = \"decode\"\nfrom = \"r\"\n[stages.c]\ntype = \"batch\"\nfrom = \"d\"\n[stages.p]\ntype = \"report\"\nfrom = \"a\"\n";
    for text in [TRAIN, odd, ring] {
        let first = graph(text);
        let written = render(&first);
        let second = graph(&written);
        assert_eq!(render(&second), written);
        assert_eq!(second.name, first.name);
        assert_eq!(second.seed, first.seed);
        assert_eq!((second.stall_timeout, second.memory), (first.stall_timeout, first.memory));
        assert_eq!(edges(&second), edges(&first));
        for (a, b) in first.stages.iter().zip(&second.stages) {
            assert_eq!((&a.name, &a.type_name, &a.settings), (&b.name, &b.type_name, &b.settings));
        }
        for (a, b) in first.edges.iter().zip(&second.edges) {
            assert_eq!((a.limits, &a.payload), (b.limits, &b.payload));
        }
        assert_eq!(first.stages.len(), second.stages.len());
    }
}

#[test]
fn rendered_text() {
    let text = "[graph]\nname = \"n\"\nseed = 3\n[stages.r]\ntype = \"reader\"\nfiles = \"/x\"\n[stages.d]\ntype = \"decode\"\nfrom = \"r\"\n";
    let wanted = r#"# A resolved graph: every key with the value it has in the run.

[graph]
name = "n"
seed = 3
stall_timeout = "10m"

[stages.r]
type = "reader"
capacity = 8
capacity_bytes = 268435456
cache = ""
files = ["/x"]
order = "file"

[stages.d]
type = "decode"
from = { records = "r.records" }
capacity_bytes = 268435456
feature_size = 1024
features = ["rgb"]
workers = 4
"#;
    assert_eq!(render(&graph(text)), wanted);
}

#[test]
fn limits_of_the_whole_graph() {
    let limits = |lines: &str| {
        let graph = graph(&format!("[graph]\n{lines}\n[stages.r]\ntype = \"reader\"\nfiles = \"x\"\n"));
        (graph.stall_timeout.map(|timeout| timeout.as_secs()), graph.memory)
    };
    assert_eq!(limits(""), (Some(600), None));
    assert_eq!(limits("stall_timeout = 45\nmemory = \"4GiB\""), (Some(45), Some(4 << 30)));
    assert_eq!(limits("stall_timeout = \"2h\"\nmemory = \"64 MiB\""), (Some(7200), Some(64 << 20)));
    assert_eq!(limits("stall_timeout = 0\nmemory = \"1B\""), (None, Some(1)));
    assert_eq!(limits("stall_timeout = \"off\"\nmemory = \"off\""), (None, None));

    let set = ["graph.stall_timeout=90s", "graph.memory=16KiB"];
    let graph = load_with(TRAIN, &set).expect("no mistakes").graph;
    assert_eq!((graph.stall_timeout.map(|t| t.as_secs()), graph.memory), (Some(90), Some(16 << 10)));
    let written = render(&graph);
    assert!(written.contains("stall_timeout = \"90s\"\nmemory = \"16KiB\"\n"), "{written}");
}
