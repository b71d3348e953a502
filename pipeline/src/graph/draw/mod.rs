//! Drawings of a resolved graph. The label of an edge says what travels on it, and delayed edges are dashed.

mod layers;
mod svg;

use std::fmt::Write;

use super::resolved::{ResolvedEdge, ResolvedGraph};
use crate::edge::payload::PayloadType;

pub use svg::svg;

/// The graph as a Mermaid flowchart.
pub fn mermaid(graph: &ResolvedGraph) -> String {
    let mut out = String::from("flowchart TD\n");
    for (index, stage) in graph.stages.iter().enumerate() {
        let (name, type_name) = (mermaid_text(&stage.name), mermaid_text(&stage.type_name));
        let _ = writeln!(out, "    s{index}[\"{name}<br/><small>{type_name}</small>\"]");
    }
    for edge in &graph.edges {
        let label = label(&edge.payload).iter().map(|l| mermaid_text(l)).collect::<Vec<_>>().join("<br/>");
        let arrow = if edge.delayed { "-.->" } else { "-->" };
        let _ = writeln!(out, "    s{} {arrow}|\"{label}\"| s{}", edge.from.0, edge.to.0);
    }
    out
}

fn mermaid_text(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '#' => out.push_str("#35;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '&' => out.push_str("#amp;"),
            '`' => out.push_str("#96;"),
            c => out.push(c),
        }
    }
    out
}

/// The graph in Graphviz's language.
pub fn dot(graph: &ResolvedGraph) -> String {
    let mut out = format!("digraph \"{}\" {{\n", dot_text(&graph.name));
    out.push_str("    rankdir=TB;\n    node [shape=box, style=rounded, fontname=\"monospace\"];\n");
    out.push_str("    edge [fontname=\"monospace\", fontsize=10];\n");
    for (index, stage) in graph.stages.iter().enumerate() {
        let (name, type_name) = (dot_text(&stage.name), dot_text(&stage.type_name));
        let _ = writeln!(out, "    s{index} [label=\"{name}\\n{type_name}\"];");
    }
    for edge in &graph.edges {
        let label = label(&edge.payload).iter().map(|l| dot_text(l)).collect::<Vec<_>>().join("\\n");
        let style = if edge.delayed { ", style=dashed, constraint=false" } else { "" };
        let _ = writeln!(out, "    s{} -> s{} [label=\"{label}\"{style}];", edge.from.0, edge.to.0);
    }
    out.push_str("}\n");
    out
}

fn dot_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}

/// The label of an edge, line by line: the payload, then at most three tensors.
fn label(payload: &PayloadType) -> Vec<String> {
    let mut lines = vec![payload.name.to_owned()];
    lines.extend(payload.tensors.iter().take(3).map(|t| format!("{} {t}", t.name)));
    if payload.tensors.len() > 3 {
        lines.push(format!("… {} more", payload.tensors.len() - 3));
    }
    lines
}

/// Whether an edge leads from a stage to itself.
fn is_loop(edge: &ResolvedEdge) -> bool {
    edge.from.0 == edge.to.0
}
