//! Laws: a drawing shows every stage and every edge, and escapes what users wrote. In the SVG nothing overlaps.

use framewise_pipeline::graph::{dot, mermaid, svg};

use crate::fixture::{TRAIN, graph};

#[test]
fn mermaid_text() {
    let wanted = r#"flowchart TD
    s0["videos<br/><small>reader</small>"]
    s1["decode<br/><small>decode</small>"]
    s2["batch<br/><small>batch</small>"]
    s3["forward<br/><small>model</small>"]
    s4["optimizer<br/><small>optimizer</small>"]
    s5["report<br/><small>report</small>"]
    s0 -->|"records"| s1
    s1 -->|"examples<br/>rgb u8[frames, 1024]"| s2
    s2 -->|"batches<br/>labels f32[32, classes]<br/>rgb u8[frames, 1024]"| s3
    s4 -.->|"weights"| s3
    s3 -->|"logits<br/>logits f32[videos, 25]"| s4
    s4 -->|"reports"| s5
"#;
    assert_eq!(mermaid(&graph(TRAIN)), wanted);
}

#[test]
fn dot_text() {
    let wanted = r#"digraph "train" {
    rankdir=TB;
    node [shape=box, style=rounded, fontname="monospace"];
    edge [fontname="monospace", fontsize=10];
    s0 [label="videos\nreader"];
    s1 [label="decode\ndecode"];
    s2 [label="batch\nbatch"];
    s3 [label="forward\nmodel"];
    s4 [label="optimizer\noptimizer"];
    s5 [label="report\nreport"];
    s0 -> s1 [label="records"];
    s1 -> s2 [label="examples\nrgb u8[frames, 1024]"];
    s2 -> s3 [label="batches\nlabels f32[32, classes]\nrgb u8[frames, 1024]"];
    s4 -> s3 [label="weights", style=dashed, constraint=false];
    s3 -> s4 [label="logits\nlogits f32[videos, 25]"];
    s4 -> s5 [label="reports"];
}
"#;
    assert_eq!(dot(&graph(TRAIN)), wanted);
}

/// A graph of fifteen stages with joins, long edges, fan-out and a loop.
pub(crate) fn large() -> String {
    let mut text = TRAIN.replace("from = { batches = \"batch\"", "from = { batches = \"relay\"");
    text += "[stages.relay]\ntype = \"relay\"\nfrom = \"batch\"\n";
    text += "[stages.held_out]\ntype = \"reader\"\nfiles = \"v\"\n";
    text += "[stages.decode_held_out]\ntype = \"decode\"\nfrom = \"held_out\"\n";
    text += "[stages.batch_held_out]\ntype = \"batch\"\nfrom = \"decode_held_out\"\n";
    text += "[stages.evaluate]\ntype = \"model\"\nfrom = { batches = \"batch_held_out\", weights = \"optimizer\" }\n";
    text += "[stages.join]\ntype = \"join\"\nfrom = { left = \"batch\", right = \"batch_held_out\", extra = \"optimizer\" }\n";
    text += "[stages.report_evaluation]\ntype = \"report\"\nfrom = \"evaluate\"\n";
    text += "[stages.predictions]\ntype = \"writer\"\npath = \"x\"\nfrom = \"evaluate\"\n";
    text += "[stages.logits]\ntype = \"writer\"\npath = \"y\"\nlog = \"z\"\nfrom = \"forward\"\n";
    text
}

/// A rectangle of the SVG, read from its attributes.
#[derive(Debug, Clone)]
struct Rect {
    class: String,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split(&format!(" {name}=\"")).nth(1)?;
    value.split('"').next().map(str::to_owned)
}

fn rects(svg: &str) -> Vec<Rect> {
    let tags = svg.split("<rect").skip(1).map(|t| t.split("/>").next().unwrap_or(t));
    let number = |tag: &str, name| attribute(tag, name).and_then(|v| v.parse().ok()).unwrap_or(0.0);
    tags.map(|tag| Rect {
        class: attribute(tag, "class").unwrap_or_default(),
        x: number(tag, "x"),
        y: number(tag, "y"),
        width: number(tag, "width"),
        height: number(tag, "height"),
    })
    .collect()
}

/// Asserts that every tag is closed in its place, and that every `&` begins an entity.
fn assert_well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = svg;
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>') || open.last() == Some(&"style"), "stray `>` in {text}");
        let tag = rest[at + 1..].split('>').next().expect("a tag ends");
        rest = &rest[at + 1 + tag.len() + 1..];
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().expect("a tag has a name");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    for entity in svg.split('&').skip(1) {
        let name = entity.split(';').next().unwrap_or_default();
        assert!(["amp", "lt", "gt", "quot", "apos"].contains(&name), "&{name}");
    }
}

fn assert_drawn(text: &str) {
    let graph = graph(text);
    let svg = svg(&graph);
    assert_well_formed(&svg);
    let rects = rects(&svg);
    let (page, boxes) = rects.split_first().expect("the page");
    assert_eq!(page.class, "page");
    assert_eq!(boxes.iter().filter(|r| r.class == "stage").count(), graph.stages.len());
    assert_eq!(boxes.iter().filter(|r| r.class == "label").count(), graph.edges.len());
    assert_eq!(svg.matches("class=\"edge").count(), graph.edges.len());
    assert_eq!(
        svg.matches("class=\"edge delayed\"").count(),
        graph.edges.iter().filter(|e| e.delayed).count()
    );
    for (i, a) in boxes.iter().enumerate() {
        assert!(a.x >= 0.0 && a.y >= 0.0, "{a:?}");
        assert!(
            a.x + a.width <= page.width && a.y + a.height <= page.height,
            "{a:?} is off the page {page:?}"
        );
        for b in &boxes[i + 1..] {
            let apart =
                a.x + a.width < b.x || b.x + b.width < a.x || a.y + a.height < b.y || b.y + b.height < a.y;
            assert!(apart, "{a:?} and {b:?} overlap");
        }
    }
    for stage in &graph.stages {
        assert!(svg.contains(&format!(">{}</text>", stage.name)));
    }
}

#[test]
fn svg_without_overlap() {
    assert_drawn(TRAIN);
    assert_drawn(&large());
    assert_drawn("[stages.alone]\ntype = \"reader\"\nfiles = \"x\"\n");
}

/// Graphs with stages that all feed each other, and with a stage that feeds itself through its delayed output.
#[test]
fn svg_of_odd_graphs() {
    let mut text = String::from(
        "[stages.r]\ntype=\"reader\"\nfiles=\"x\"\n[stages.d]\ntype=\"decode\"\nfrom=\"r\"\n[stages.s0]\ntype=\"batch\"\nfrom=\"d\"\n[stages.s1]\ntype=\"relay\"\nfrom=\"s0\"\n",
    );
    for i in 2..24 {
        text += &format!("[stages.s{i}]\ntype = \"relay\"\nfrom = \"s{}\"\n", i / 2);
        text += &format!(
            "[stages.j{i}]\ntype = \"join\"\nfrom = {{ left = \"s{i}\", right = \"s{}\" }}\n",
            (i * 7) % i
        );
    }
    assert_drawn(&text);
    assert_drawn("[stages.echo]\ntype = \"echo\"\nfrom = \"echo\"\n");
}

#[test]
fn what_users_write_is_escaped() {
    let text = "[graph]\nname = \"a<b>&'\\\"\"\n[stages.r]\ntype = \"reader\"\nfiles = \"x\"\n";
    assert_well_formed(&svg(&graph(text)));
    assert!(dot(&graph(text)).starts_with("digraph \"a<b>&'\\\"\" {"));
}
