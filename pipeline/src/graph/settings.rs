//! A stage's type, settings and ports: default < named config < inline key < `--set`.
//!
//! Law: only the value that wins is looked at, so a `--set` also repairs what it replaces.

use std::collections::BTreeMap;

use toml::Value;

use super::configs::Configs;
use super::context::Loading;
use super::diagnostic::{Diagnostic, Place};
use super::document::WrittenStage;
use super::syntax::{Data, Entry};
use super::{values, words};
use crate::component::{Component, Ports, Settings};
use crate::key::{KeyKind, KeySpec};

/// The keys that every stage takes.
pub(crate) const COMMON_KEYS: [&str; 5] = ["type", "from", "config", "capacity", "capacity_bytes"];

/// Payload bytes on an edge where the graph names none.
pub(crate) const DEFAULT_CAPACITY_BYTES: i64 = 256 << 20;

/// A stage on the way from written to resolved.
pub(crate) struct Draft<'r> {
    pub(crate) name: String,
    /// `[stages.NAME]`.
    pub(crate) header: Place,
    /// `None` when its type is missing or unknown.
    pub(crate) component: Option<&'r dyn Component>,
    pub(crate) settings: Settings,
    /// Where each value that is no default was given.
    pub(crate) origins: BTreeMap<String, Place>,
    /// Whether every key is right; otherwise shapes that follow from keys mean nothing.
    pub(crate) sound: bool,
    pub(crate) ports: Ports,
    pub(crate) from: Option<Entry>,
    pub(crate) capacity: Option<usize>,
    pub(crate) capacity_bytes: usize,
    /// Something of it could not be read, so nothing is said about what is missing.
    pub(crate) damaged: bool,
    /// Whether it is known which configs it applies.
    pub(crate) configs_known: bool,
}

impl Draft<'_> {
    pub(crate) fn type_name(&self) -> &'static str {
        self.component.map_or("", Component::type_name)
    }
}

/// Resolves a stage's own keys.
pub(crate) fn resolve<'r>(
    written: &WrittenStage,
    configs: &mut Configs,
    graph_file: Place,
    loading: &mut Loading<'r>,
) -> Draft<'r> {
    let component = component(written, loading);
    let mut draft = Draft {
        name: written.name.clone(),
        header: written.header,
        component,
        settings: Settings::default(),
        origins: BTreeMap::new(),
        sound: true,
        ports: Ports::default(),
        from: written.entry("from").cloned(),
        capacity: None,
        capacity_bytes: 0,
        damaged: written.damaged,
        configs_known: true,
    };
    let names = config_names(written, configs, &mut draft, loading);
    let Some(component) = component else {
        for name in &names {
            if let Some(mut config) = configs.apply(name) {
                config.used_by_unknown();
            }
        }
        return draft;
    };
    let specs = component.keys();
    let keys = specs.iter().map(|s| s.name).collect::<Vec<_>>();
    // Keys that depend on others come after those.
    let (dependent, free): (Vec<_>, Vec<_>) =
        specs.into_iter().partition(|s| s.only_with.is_some() || !s.defaults_with.is_empty());
    let mut wrong = Vec::new();
    for spec in &free {
        let sound = std::mem::replace(&mut draft.sound, true);
        setting(spec, written, configs, &names, graph_file, &mut draft, loading);
        wrong.extend((!draft.sound).then_some(spec.name));
        draft.sound &= sound;
    }
    let mut known = free.iter().map(|s| s.name).collect::<Vec<_>>();
    for spec in dependent {
        if spec.only_with.is_some_and(|choice| wrong.contains(&choice.key)) {
            // Nothing is known of this key before the one that decides over it is right.
            known.push(spec.name);
        } else if let Some(spec) = chosen(spec, written, &mut draft, loading) {
            known.push(spec.name);
            setting(&spec, written, configs, &names, graph_file, &mut draft, loading);
        }
    }
    for name in &names {
        if let Some(mut config) = configs.apply(name) {
            config.used_by(&written.name, component.type_name(), &known);
        }
    }
    draft.ports = component.ports(&draft.settings);
    for entry in &written.entries {
        if !keys.contains(&entry.key.as_str()) && !COMMON_KEYS.contains(&entry.key.as_str()) {
            unknown_key(entry, &draft, &keys, loading);
        }
    }
    capacities(written, &mut draft, loading);
    if draft.sound && !draft.damaged {
        for (key, message) in component.check(&draft.settings) {
            let place = draft.origins.get(key).copied().unwrap_or(draft.header);
            // A graph that this one names brings the rendered messages of its own.
            let (message, details) = message.split_once('\n').unwrap_or((&message, ""));
            let message = format!("stage {}: {message}", words::name(&draft.name));
            let diagnostic = Diagnostic::error(place, message);
            loading.report.push(match details.trim_end() {
                "" => diagnostic,
                details => diagnostic.note(details),
            });
        }
    }
    draft
}

fn component<'r>(written: &WrittenStage, loading: &mut Loading<'r>) -> Option<&'r dyn Component> {
    const HELP: &str = "`framewise stages` lists all types";
    let Some(entry) = written.entry("type") else {
        if !written.damaged {
            let message = format!("stage {} has no `type`", words::name(&written.name));
            let typo = written.entries.iter().find(|e| words::nearest(&e.key, ["type"]).is_some());
            let diagnostic = Diagnostic::error(written.header, message).help(HELP);
            loading.report.push(match typo {
                Some(entry) => diagnostic.also(entry.place, "did you mean `type`?"),
                None => diagnostic,
            });
        }
        return None;
    };
    let text = match &entry.node.data {
        Data::Text(text) => loading.expand(entry.node.place, text)?,
        Data::Broken => return None,
        other => {
            let message = format!(
                "`type` of stage {} must be a text, not {}",
                words::name(&written.name),
                other.in_words()
            );
            loading.report.push(Diagnostic::error(entry.node.place, message).help(HELP));
            return None;
        }
    };
    let registry = loading.registry;
    let found = registry.get(&text);
    if found.is_none() {
        let nearest = loading.report.nearest(&text, registry.iter().map(Component::type_name));
        let message = format!("there is no stage type {}", words::name(&text));
        loading.report.push(Diagnostic::error(entry.node.place, message).nearest(nearest).help(HELP));
    }
    found
}

/// The names in `config`, all of which exist.
fn config_names(
    written: &WrittenStage,
    configs: &Configs,
    draft: &mut Draft<'_>,
    loading: &mut Loading<'_>,
) -> Vec<String> {
    let Some(entry) = written.entry("config") else { return Vec::new() };
    let what = format!("`config` of stage {}", words::name(&written.name));
    let Some(names) = loading.texts(&entry.node, &what) else {
        draft.configs_known = false;
        draft.damaged = true;
        return Vec::new();
    };
    draft.damaged |= names.iter().any(|(_, name)| configs.is_damaged(name));
    let known = configs.names();
    let (found, missing): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|(_, n)| known.contains(&n.as_str()));
    for (place, name) in missing {
        if configs.is_damaged(&name) {
            continue; // Its line in `[use]` may be one that could not be read.
        }
        // What the config would have given is missing now.
        draft.damaged = true;
        draft.configs_known = false;
        let message = format!("there is no config {} in `[use]`", words::name(&name));
        let nearest = loading.report.nearest(&name, known.iter().copied());
        let diagnostic = Diagnostic::error(place, message).nearest(nearest).help(format!(
            "name its file: `[use]` {name} = \"…\"",
            name = words::name(&name).trim_matches('`')
        ));
        loading.report.push(diagnostic);
    }
    found.into_iter().map(|(_, name)| name).collect()
}

/// The key as it is with the values of the keys that it depends on; `None` where it does not apply, after a report
/// if it stands in the stage all the same.
fn chosen(
    mut spec: KeySpec,
    written: &WrittenStage,
    draft: &mut Draft<'_>,
    loading: &mut Loading<'_>,
) -> Option<KeySpec> {
    let value = |key: &str| draft.settings.get(key).and_then(Value::as_str).unwrap_or_default();
    let default = spec.defaults_with.iter().find(|(choice, _)| choice.words.contains(&value(choice.key)));
    if let Some((_, value)) = default {
        spec.default = Some(value.clone());
    }
    let Some(choice) = spec.only_with.filter(|choice| !choice.words.contains(&value(choice.key))) else {
        return Some(spec);
    };
    let entry = written.entry(spec.name)?;
    let (stage, decided) = (words::name(&draft.name), words::quoted(value(choice.key)));
    let message =
        format!("`{}` of stage {stage} has no effect: its `{}` is {decided}", spec.name, choice.key);
    let with = words::list(choice.words.iter().copied(), "or");
    let diagnostic = Diagnostic::error(entry.place, message)
        .help(format!("remove it; it goes with `{}` {with}", choice.key));
    loading.report.push(match draft.origins.get(choice.key) {
        Some(&place) => diagnostic.also(place, format!("`{}` is chosen here", choice.key)),
        None => diagnostic,
    });
    draft.sound = false;
    None
}

fn setting(
    spec: &KeySpec,
    written: &WrittenStage,
    configs: &mut Configs,
    names: &[String],
    graph_file: Place,
    draft: &mut Draft<'_>,
    loading: &mut Loading<'_>,
) {
    let from_config =
        || names.iter().rev().find_map(|name| configs.apply(name).and_then(|c| c.entry(spec.name).cloned()));
    let given = written.entry(spec.name).cloned().or_else(from_config);
    let value = match &given {
        Some(entry) => {
            draft.origins.insert(spec.name.to_owned(), entry.node.place);
            let value = values::convert(&entry.node, spec, &written.name, loading);
            draft.sound &= value.is_some();
            value
        }
        None if spec.required => {
            draft.sound = false;
            if !draft.damaged {
                missing_key(spec, draft, loading);
            }
            None
        }
        None => None,
    };
    let default =
        || spec.default.as_ref().map(|v| values::from_default(v, &spec.kind, loading.base(graph_file)));
    if let Some(value) = value.or_else(default) {
        draft.settings.values.insert(spec.name.to_owned(), value);
    }
}

fn missing_key(spec: &KeySpec, draft: &Draft<'_>, loading: &mut Loading<'_>) {
    let message =
        format!("stage {} lacks the key `{}`: {}", words::name(&draft.name), spec.name, words::wanted(spec));
    loading.report.push(
        Diagnostic::error(draft.header, message)
            .label(format!("`{}` is missing", spec.name))
            .help(format!("`{}`: {}", spec.name, spec.doc)),
    );
}

fn unknown_key(entry: &Entry, draft: &Draft<'_>, keys: &[&'static str], loading: &mut Loading<'_>) {
    let type_name = draft.type_name();
    let message = format!("{} is not a key of `{type_name}`", words::name(&entry.key));
    let help = format!("`framewise stages {type_name}` lists its keys");
    let diagnostic = if let Some(port) = draft.ports.inputs.iter().find(|p| p.name == entry.key) {
        Diagnostic::error(entry.place, message)
            .help(format!("it is an input port: write `from = {{ {} = \"STAGE\" }}`", port.name))
    } else {
        let names = keys.iter().copied().chain(COMMON_KEYS);
        let nearest = loading.report.nearest(&entry.key, names);
        Diagnostic::error(entry.place, message).nearest(nearest).help(help)
    };
    loading.report.push(diagnostic);
}

fn capacities(written: &WrittenStage, draft: &mut Draft<'_>, loading: &mut Loading<'_>) {
    let items = KeySpec::new(
        "capacity",
        KeyKind::Integer(1..=65536),
        "how many items wait on an edge from this stage; each output has its own default",
    );
    let bytes = KeySpec::new(
        "capacity_bytes",
        KeyKind::at_least(1),
        "how many bytes wait on an edge from this stage; one item always fits",
    );
    let bytes = bytes.unit("bytes").default(DEFAULT_CAPACITY_BYTES);
    let mut read = |spec: &KeySpec| {
        let entry = written.entry(spec.name)?;
        if draft.ports.outputs.is_empty() {
            let message = format!("`{}` has no effect: `{}` has no output", spec.name, draft.type_name());
            loading.report.push(Diagnostic::error(entry.place, message).help("remove it"));
            return None;
        }
        let value = values::convert(&entry.node, spec, &written.name, loading);
        value.as_ref().and_then(Value::as_integer).and_then(|n| usize::try_from(n).ok())
    };
    let (items, bytes) = (read(&items), read(&bytes));
    draft.capacity = items;
    draft.capacity_bytes = bytes.unwrap_or(DEFAULT_CAPACITY_BYTES as usize);
}
