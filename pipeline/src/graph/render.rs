//! Writing a resolved graph as TOML.
//!
//! Law: when [`super::load_str`] loads a rendered text, [`render`] gives the same text again.

use std::collections::BTreeSet;
use std::fmt::Write;

use toml::Value;

use super::resolved::{ResolvedGraph, ResolvedStage};
use crate::graph::read::quantities;
use crate::graph::read::variables;
use crate::graph::resolve::settings::DEFAULT_CAPACITY_BYTES;

/// The graph as a TOML text that resolves to the same graph. In the text, configs are merged, defaults are written out,
/// paths are absolute, and every edge names its ports. A seed that was drawn fresh is written down too.
///
/// One thing cannot be written. A stage whose outputs have different default capacities keeps its `capacity` unset,
/// which means those defaults.
pub fn render(graph: &ResolvedGraph) -> String {
    let mut out =
        String::from("# A resolved graph: every key with the value it has in the run.\n\n[graph]\n");
    line(&mut out, "name", &Value::String(graph.name.clone()));
    match i64::try_from(graph.seed) {
        Ok(seed) => line(&mut out, "seed", &Value::Integer(seed)),
        Err(_) => out.push_str(&format!("# seed = {} does not fit into TOML\n", graph.seed)),
    }
    line(&mut out, "stall_timeout", &Value::String(quantities::written_timeout(graph.stall_timeout)));
    if let Some(memory) = graph.memory {
        line(&mut out, "memory", &Value::String(quantities::written_bytes(memory)));
    }
    for (index, stage) in graph.stages.iter().enumerate() {
        render_stage(&mut out, graph, index, stage);
    }
    out
}

fn render_stage(out: &mut String, graph: &ResolvedGraph, index: usize, stage: &ResolvedStage) {
    let _ = write!(out, "\n[stages.{}]\n", key(&stage.name));
    line(out, "type", &Value::String(stage.type_name.clone()));
    let from = graph.edges.iter().filter(|e| e.to.0 == index).map(|edge| {
        let producer = &graph.stages[edge.from.0];
        let port = producer.ports.outputs[edge.from.1].name;
        format!(
            "{} = {}",
            key(stage.ports.inputs[edge.to.1].name),
            text(&format!("{}.{port}", producer.name))
        )
    });
    let from = from.collect::<Vec<_>>();
    if !from.is_empty() {
        let _ = writeln!(out, "from = {{ {} }}", from.join(", "));
    }
    let limits = graph.edges.iter().filter(|e| e.from.0 == index).map(|e| e.limits).collect::<Vec<_>>();
    let items = limits.iter().map(|l| l.items).collect::<BTreeSet<_>>();
    if let (Some(items), 1) = (items.first(), items.len()) {
        let _ = writeln!(out, "capacity = {items}");
    }
    if !stage.ports.outputs.is_empty() {
        let bytes = limits.first().map_or(DEFAULT_CAPACITY_BYTES as usize, |l| l.bytes);
        let _ = writeln!(out, "capacity_bytes = {bytes}");
    }
    for (name, value) in &stage.settings.values {
        line(out, name, value);
    }
}

fn line(out: &mut String, name: &str, value: &Value) {
    let _ = writeln!(out, "{} = {}", key(name), escaped(value));
}

fn text(text: &str) -> String {
    escaped(&Value::String(text.to_owned())).to_string()
}

/// The key in TOML, without quotes where TOML allows that.
fn key(name: &str) -> String {
    let bare =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if bare { name.to_owned() } else { Value::String(name.to_owned()).to_string() }
}

/// The value with every `${` escaped, because texts are expanded when they are read.
fn escaped(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(variables::escape(text)),
        Value::Array(values) => Value::Array(values.iter().map(escaped).collect()),
        other => other.clone(),
    }
}
