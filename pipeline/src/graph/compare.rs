//! The differences between a graph that ran and the graph with which the run is to be resumed.
//!
//! Law: two renders of one graph do not differ, whatever the order of their stages. A difference is named by the key
//! that a user would set.

use std::fmt;

use toml::{Table, Value};

use super::render::render;
use super::resolved::ResolvedGraph;
use crate::stage::component::Registry;
use crate::stage::key::{Choice, KeySpec};

/// A key that differs, or a whole stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// `graph.seed`, `stages.NAME.KEY`, or `stages.NAME` for a stage that is new or gone.
    pub key: String,
    /// The stage's name, if the difference is in a stage.
    pub stage: Option<String>,
    /// The value before; `None` when the key was not set. For a whole stage, this is its type.
    pub before: Option<Value>,
    /// The value now; `None` when the key is not set. For a whole stage, this is its type.
    pub now: Option<Value>,
    /// Whether the key may change on resume ([`KeySpec::free`]).
    pub free: bool,
}

impl Change {
    /// Whether `name` stands for this change: its key, with or without `stages.`, or its stage.
    pub fn is_named(&self, name: &str) -> bool {
        let of_stages = |full: &str| full.strip_prefix("stages.").is_some_and(|short| short == name);
        let stage = self.stage.as_deref();
        name == self.key
            || of_stages(&self.key)
            || stage.is_some_and(|stage| name == stage || name.strip_prefix("stages.") == Some(stage))
    }

    fn is_whole_stage(&self) -> bool {
        self.stage.as_ref().is_some_and(|stage| self.key.len() == "stages.".len() + stage.len())
    }
}

/// Writes the change as `stages.batch.size: 160 in the checkpoint, 32 now`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { key, before, now, .. } = self;
        let text = |value: &Option<Value>| match value {
            Some(Value::String(name)) if self.is_whole_stage() => format!("a `{name}`"),
            Some(value) => value.to_string().replace("$${", "${"),
            None if self.is_whole_stage() => "no such stage".to_owned(),
            None => "not set".to_owned(),
        };
        write!(f, "{key}: {} in the checkpoint, {} now", text(before), text(now))
    }
}

/// Compares `before`, the [`render`] of an earlier graph, with `now`. The names of the graphs are not compared. A key
/// that the earlier graph does not have and that has its default now does not count as a difference, because a later
/// version added it.
///
/// # Errors
/// `before` is not a rendered graph.
pub fn compare(before: &str, now: &ResolvedGraph, registry: &Registry) -> Result<Vec<Change>, String> {
    let before: Table = before.parse().map_err(|e: toml::de::Error| e.message().to_owned())?;
    let rendered: Table = render(now).parse().map_err(|e: toml::de::Error| e.message().to_owned())?;
    let stages_of = |graph: &Table| match graph.get("stages") {
        Some(Value::Table(stages)) => Ok(stages.clone()),
        _ => Err("it has no stages".to_owned()),
    };
    let (stages_before, stages_now) = (stages_of(&before)?, stages_of(&rendered)?);
    let seed = |graph: &Table| graph.get("graph").and_then(|heading| heading.get("seed")).cloned();
    let mut changes = Vec::new();
    if seed(&before) != seed(&rendered) {
        changes.push(Change {
            key: "graph.seed".to_owned(),
            stage: None,
            before: seed(&before),
            now: seed(&rendered),
            free: false,
        });
    }
    // Changes come in the order of the file. Stages that are gone come last, by name.
    let names = now.stages.iter().map(|stage| &stage.name);
    let gone = stages_before.keys().filter(|name| !stages_now.contains_key(*name));
    for name in names.chain(gone) {
        let table = |stages: &Table| match stages.get(name) {
            Some(Value::Table(keys)) => Some(keys.clone()),
            _ => None,
        };
        stage(name, table(&stages_before), table(&stages_now), registry, &mut changes);
    }
    Ok(changes)
}

fn stage(
    name: &str,
    before: Option<Table>,
    now: Option<Table>,
    registry: &Registry,
    changes: &mut Vec<Change>,
) {
    let type_of = |keys: &Option<Table>| keys.as_ref().and_then(|keys| keys.get("type").cloned());
    let types = (type_of(&before), type_of(&now));
    let mut push = |key: String, before: Option<Value>, now: Option<Value>, free: bool| {
        changes.push(Change { key, stage: Some(name.to_owned()), before, now, free });
    };
    let (Some(before), Some(now)) = (before, now) else {
        return push(format!("stages.{name}"), types.0, types.1, false);
    };
    if types.0 != types.1 {
        // The keys of two types have nothing to do with each other.
        push(format!("stages.{name}.type"), types.0, types.1, false);
        return;
    }
    let component = types.1.as_ref().and_then(Value::as_str).and_then(|name| registry.get(name));
    let specs = component.map(|component| component.keys()).unwrap_or_default();
    let spec = |key: &str| specs.iter().find(|spec| spec.name == key);
    let added = now.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(added) {
        let (old, new) = (before.get(key), now.get(key));
        let spec = spec(key);
        let added_later = old.is_none() && new.is_some() && is_default(new, spec, &now);
        if old != new && !added_later {
            let bound = matches!(key.as_str(), "capacity" | "capacity_bytes");
            let free = bound || spec.is_some_and(|spec| spec.free);
            push(format!("stages.{name}.{key}"), old.cloned(), new.cloned(), free);
        }
    }
}

/// Whether a key has its default, given the other keys of its stage.
fn is_default(value: Option<&Value>, spec: Option<&KeySpec>, stage: &Table) -> bool {
    let Some(spec) = spec else { return false };
    let holds = |choice: &Choice| {
        let word = stage.get(choice.key).and_then(Value::as_str);
        word.is_some_and(|word| choice.words.contains(&word))
    };
    let special = spec.defaults_with.iter().find(|(choice, _)| holds(choice)).map(|(_, default)| default);
    let default = special.or(spec.default.as_ref());
    match (value, default) {
        // When the graph was resolved, a default that is a whole number became a float for a key that takes floats.
        (Some(Value::Float(value)), Some(Value::Integer(default))) => *value == *default as f64,
        (value, default) => value == default,
    }
}
