//! `framewise stages`, which shows the stage types and what can be set on each of them.
//!
//! Law: text and JSON say the same, and both come from the table that checks graphs.

use std::collections::BTreeSet;

use framewise_pipeline::{Component, Failure, KeyKind, KeySpec, Ports, Registry, Settings};
use serde::Serialize;
use serde_json::Value;

use crate::cli::{Format, StagesArgs};
use crate::exit::{self, UsageError};
use crate::terminal;
use crate::text::{self, wrap};

/// The number of columns that a terminal is assumed to have.
const WIDTH: usize = 100;

/// A stage type.
#[derive(Debug, Serialize)]
struct StageType {
    #[serde(rename = "type")]
    type_name: &'static str,
    /// The first sentence of `doc`.
    summary: &'static str,
    doc: &'static str,
    inputs: Vec<InputInfo>,
    outputs: Vec<OutputInfo>,
    keys: Vec<KeyInfo>,
}

/// An input port, for the default settings.
#[derive(Debug, Serialize)]
struct InputInfo {
    name: &'static str,
    payload: String,
    optional: bool,
}

/// An output port, for the default settings.
#[derive(Debug, Serialize)]
struct OutputInfo {
    name: &'static str,
    payload: String,
    /// The input whose tensors the output carries on.
    shaped_like: Option<&'static str>,
    /// Whether the output sends before its stage has received anything.
    delayed: bool,
    /// The number of items that its edges hold where the graph says nothing.
    capacity: usize,
}

/// A key.
#[derive(Debug, Serialize)]
struct KeyInfo {
    name: &'static str,
    kind: &'static str,
    /// The smallest value, or the smallest element of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<Value>,
    /// The largest value, or the largest element of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<Value>,
    /// The words that the key takes.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    words: &'static [&'static str],
    unit: &'static str,
    required: bool,
    /// Whether a resumed run may have another value.
    free: bool,
    default: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    only_with: Option<OnlyWith>,
    doc: &'static str,
}

/// The values of another key with which a key applies.
#[derive(Debug, Serialize)]
struct OnlyWith {
    key: &'static str,
    words: &'static [&'static str],
}

/// Lists all types, or explains one.
///
/// # Errors
/// A usage error for a type that does not exist. Standard output cannot be written.
pub(crate) fn stages(args: &StagesArgs, registry: &Registry) -> anyhow::Result<u8> {
    let text = match (&args.type_name, args.format) {
        (None, Format::Text) => list(registry),
        (None, Format::Json) => text::json(&registry.iter().map(StageType::of).collect::<Vec<_>>()),
        (Some(name), format) => {
            let component = registry.get(name).ok_or_else(|| unknown(name, registry))?;
            let stage = StageType::of(component);
            if format == Format::Json { text::json(&stage) } else { page(&stage) }
        }
    };
    terminal::print(&text)?;
    Ok(exit::OK)
}

/// Refuses a table in which two stage types have one name, because the second would never be used.
///
/// # Errors
/// `Internal`. The error names the type.
pub(crate) fn check_names(registry: &Registry) -> Result<(), Failure> {
    let mut names = BTreeSet::new();
    match registry.iter().map(Component::type_name).find(|name| !names.insert(*name)) {
        None => Ok(()),
        Some(name) => Err(Failure::internal(format!(
            "two stage types of this program are called `{name}`; give the added one another name"
        ))),
    }
}

fn unknown(name: &str, registry: &Registry) -> UsageError {
    let distance = |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), other);
    let names = registry.iter().map(Component::type_name);
    let near = names.map(|other| (distance(other), other)).min();
    let hint = match near {
        Some((distance, other)) if distance <= (name.chars().count() / 3).max(2) => {
            format!("did you mean `{other}`?")
        }
        _ => "`framewise stages` lists them".to_owned(),
    };
    UsageError(format!("there is no stage type `{name}`; {hint}"))
}

fn list(registry: &Registry) -> String {
    let width = registry.iter().map(|c| c.type_name().len()).max().unwrap_or(0) + 2;
    let mut out = String::new();
    for component in registry.iter() {
        let summary = wrap(first_sentence(component.doc()), WIDTH, width);
        out += &format!("{:<width$}{}", component.type_name(), &summary[width.min(summary.len())..]);
    }
    out + "\n`framewise stages TYPE` explains one.\n"
}

fn page(stage: &StageType) -> String {
    let mut out = format!("{}\n\n{}", stage.type_name, wrap(stage.doc, WIDTH, 0));
    if !stage.inputs.is_empty() {
        out += "\ninputs\n";
        for port in &stage.inputs {
            let note = if port.optional { ", optional" } else { "" };
            out += &format!("  {}{note}\n{}", port.name, wrap(&port.payload, WIDTH, 6));
        }
    }
    if !stage.outputs.is_empty() {
        out += "\noutputs\n";
        for port in &stage.outputs {
            let delayed = if port.delayed { ", delayed: sends before its first input" } else { "" };
            out += &format!("  {}, capacity {}{delayed}\n", port.name, port.capacity);
            let like = port
                .shaped_like
                .map_or(String::new(), |input| format!(", with the tensors of input {input}"));
            out += &wrap(&format!("{}{like}", port.payload), WIDTH, 6);
        }
    }
    out += "\nkeys\n";
    for key in &stage.keys {
        out += &format!("  {}  {}\n", key.name, key.terms());
        out += &wrap(key.doc, WIDTH, 6);
    }
    if stage.keys.is_empty() {
        out += "  none of its own\n";
    }
    out += "\nEvery stage also takes `type`, `from`, `config`, and, which may change on resume, `capacity` and \
            `capacity_bytes`.\n";
    out
}

impl StageType {
    fn of(component: &dyn Component) -> Self {
        let keys = component.keys();
        let free = keys.iter().filter(|key| key.only_with.is_none());
        let defaults = free.filter_map(|key| Some((key.name.to_owned(), key.default.clone()?)));
        let Ports { inputs, outputs } = component.ports(&Settings { values: defaults.collect() });
        let inputs = inputs.iter().map(|port| InputInfo {
            name: port.name,
            payload: port.payload.to_string(),
            optional: port.optional,
        });
        let outputs = outputs.iter().map(|port| OutputInfo {
            name: port.name,
            payload: port.payload.to_string(),
            shaped_like: port.shaped_like,
            delayed: port.delayed,
            capacity: port.capacity,
        });
        Self {
            type_name: component.type_name(),
            summary: first_sentence(component.doc()),
            doc: component.doc(),
            inputs: inputs.collect(),
            outputs: outputs.collect(),
            keys: keys.iter().map(KeyInfo::of).collect(),
        }
    }
}

impl KeyInfo {
    fn of(key: &KeySpec) -> Self {
        // The widest bounds say nothing.
        let whole = |n: i64| (n != i64::MIN && n != i64::MAX).then(|| Value::from(n));
        let float = |x: f64| (x.is_finite() && x.abs() < f64::MAX).then(|| Value::from(x));
        let (kind, min, max) = match &key.kind {
            KeyKind::Bool => ("true or false", None, None),
            KeyKind::Integer(range) => ("whole number", whole(*range.start()), whole(*range.end())),
            KeyKind::Float(range) => ("number", float(*range.start()), float(*range.end())),
            KeyKind::Text => ("text", None, None),
            KeyKind::OneOf(_) => ("word", None, None),
            KeyKind::Path => ("path", None, None),
            KeyKind::OutputPath => ("output path", None, None),
            KeyKind::OutputDirectory => ("output directory", None, None),
            KeyKind::Paths => ("paths", None, None),
            KeyKind::Texts => ("texts", None, None),
            KeyKind::Integers(range) => ("whole numbers", whole(*range.start()), whole(*range.end())),
            KeyKind::Floats(range) => ("numbers", float(*range.start()), float(*range.end())),
        };
        let words = if let KeyKind::OneOf(words) = key.kind { words } else { &[] };
        // A default that is the largest whole number means that there is no bound.
        let default = key.default.as_ref().filter(|value| value.as_integer() != Some(i64::MAX));
        let default = default.and_then(|value| serde_json::to_value(value).ok());
        Self {
            name: key.name,
            kind,
            min,
            max,
            words,
            unit: key.unit,
            required: key.required,
            free: key.free,
            default,
            only_with: key.only_with.map(|choice| OnlyWith { key: choice.key, words: choice.words }),
            doc: key.doc,
        }
    }

    /// The kind of the key in words, such as `whole number from 1, steps, default 10`.
    fn terms(&self) -> String {
        let mut terms = match self.words {
            [] => self.kind.to_owned(),
            words => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" | "),
        };
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => terms += &format!(" from {min} to {max}"),
            (Some(min), None) => terms += &format!(" from {min}"),
            (None, Some(max)) => terms += &format!(" up to {max}"),
            (None, None) => {}
        }
        if !self.unit.is_empty() {
            terms += &format!(", {}", self.unit);
        }
        if self.free {
            terms += ", may change on resume";
        }
        match &self.default {
            Some(default) => terms += &format!(", default {default}"),
            None if self.required => terms += ", required",
            None => terms += ", optional",
        }
        if let Some(OnlyWith { key, words }) = &self.only_with {
            let words = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
            terms += &format!(", only with {key} = {words}");
        }
        terms
    }
}

/// The text up to its first full stop.
fn first_sentence(doc: &'static str) -> &'static str {
    match doc.find(". ") {
        Some(end) => &doc[..=end],
        None => doc,
    }
}

#[cfg(test)]
mod tests {
    use framewise_pipeline::{Stage, StageContext, Wiring};

    use super::*;

    #[test]
    fn a_key_is_told_in_full() {
        let key = KeySpec::new("size", KeyKind::at_least(1), "Doc.").default(10).unit("videos");
        assert_eq!(KeyInfo::of(&key).terms(), "whole number from 1, videos, default 10");
        let key = KeySpec::new("mode", KeyKind::OneOf(&["a", "b"]), "Doc.").required();
        assert_eq!(KeyInfo::of(&key).terms(), "\"a\" | \"b\", required");
        let key = KeySpec::new("epochs", KeyKind::at_least(1), "Doc.").default(1).unit("epochs").free();
        assert_eq!(KeyInfo::of(&key).terms(), "whole number from 1, epochs, may change on resume, default 1");
        let key = KeySpec::new("rate", KeyKind::Float(0.0..=0.5), "Doc.");
        assert_eq!(KeyInfo::of(&key).terms(), "number from 0.0 to 0.5, optional");
    }

    #[test]
    fn a_name_that_two_types_have_is_refused() {
        assert!(check_names(&framewise_stages::registry()).is_ok());
        let twice = framewise_stages::registry().with(Second);
        let refused = check_names(&twice).unwrap_err();
        assert_eq!(refused.kind.exit_code(), 70);
        assert!(refused.to_string().contains("are called `batch`"), "{refused}");
    }

    /// A stage type with the name of another.
    struct Second;

    impl Component for Second {
        fn type_name(&self) -> &'static str {
            "batch"
        }

        fn doc(&self) -> &'static str {
            "Never used."
        }

        fn keys(&self) -> Vec<KeySpec> {
            Vec::new()
        }

        fn ports(&self, _settings: &Settings) -> Ports {
            Ports::default()
        }

        fn build(&self, _: &Settings, _: &mut Wiring, _: &StageContext) -> Result<Box<dyn Stage>, Failure> {
            Err(Failure::internal("never built"))
        }
    }

    #[test]
    fn the_first_sentence_ends_with_its_full_stop() {
        assert_eq!(first_sentence("Reads v1.2 files. Then ends."), "Reads v1.2 files.");
        assert_eq!(first_sentence("Only one."), "Only one.");
    }
}
