//! The type, the settings and the ports of a stage.
//!
//! Laws: default < named config < key in the stage < `--set`. Only the value that wins is checked, so a `--set` also
//! repairs what it replaces.

use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use super::configs::{AppliedConfig, Configs};
use super::draft::Draft;
use super::{known, values};
use crate::graph::read::document::WrittenStage;
use crate::graph::read::loading::Loading;
use crate::graph::read::syntax::{Data, Entry};
use crate::graph::report::diagnostic::{Diagnostic, Place};
use crate::graph::report::words;
use crate::stage::component::Component;
use crate::stage::key::{COMMON_KEYS, KeyKind, KeySpec};
use crate::stage::ports::Ports;
use crate::stage::settings::Settings;

/// How many payload bytes wait on an edge where the graph gives no number.
pub(crate) const DEFAULT_CAPACITY_BYTES: i64 = 256 << 20;

/// Resolves a stage's own keys. `graph_file` is a place in the graph's file, to whose directory defaults are relative.
pub(crate) fn resolve<'r>(
    written: &WrittenStage,
    configs: &mut Configs,
    graph_file: Place,
    loading: &mut Loading<'r>,
) -> Draft<'r> {
    let draft = Draft {
        name: written.name.clone(),
        header: written.header,
        component: component(written, loading),
        settings: Settings::default(),
        origins: BTreeMap::new(),
        entries: BTreeMap::new(),
        unknown: BTreeSet::new(),
        ports: Ports::default(),
        open_outputs: Vec::new(),
        from: written.entry("from").cloned(),
        from_ports: written.ports.clone(),
        capacity: None,
        capacity_bytes: 0,
        damaged: written.damaged,
        configs_known: true,
    };
    let (names, names_lost) = (Vec::new(), false);
    let mut resolver = Resolver { written, configs, graph_file, loading, names, names_lost, draft };
    resolver.names = resolver.config_names();
    match resolver.draft.component {
        Some(component) => resolver.resolve(component),
        None => resolver.apply_configs(|config| config.used_by_unknown()),
    }
    resolver.draft
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

/// What the graph says about the value of a key.
enum Given {
    /// The value stands here.
    Entry(Entry),
    /// The value may stand in something that cannot be read.
    Lost,
    /// There is no value.
    Nothing,
}

/// Resolves one stage. It holds the stage as written, the configs that the stage may apply, and the draft that is
/// built.
struct Resolver<'a, 'r> {
    written: &'a WrittenStage,
    configs: &'a mut Configs,
    graph_file: Place,
    loading: &'a mut Loading<'r>,
    /// The configs that the stage names, most important last. Those that do not exist are among them.
    names: Vec<String>,
    /// Whether it cannot be read which configs the stage applies.
    names_lost: bool,
    draft: Draft<'r>,
}

impl Resolver<'_, '_> {
    fn resolve(&mut self, component: &dyn Component) {
        let specs = component.keys();
        let keys = specs.iter().map(|s| s.name).collect::<Vec<_>>();
        let known = self.settings(specs);
        let written = self.written;
        self.apply_configs(|config| config.used_by(&written.name, component.type_name(), &known));
        self.take_set_configs(component);
        let known = known::ports(component, &self.draft.settings, &self.draft.unknown);
        (self.draft.ports, self.draft.open_outputs) = (known.ports, known.open_outputs);
        for entry in &written.entries {
            if !keys.contains(&entry.key.as_str()) && !COMMON_KEYS.contains(&entry.key.as_str()) {
                self.unknown_key(entry, &keys);
            }
        }
        self.capacities();
        if self.draft.unknown.is_empty() {
            self.check(component);
        }
    }

    /// Gives every key its value. Returns the names of the keys that apply.
    fn settings(&mut self, specs: Vec<KeySpec>) -> Vec<&'static str> {
        // A key that depends on another key comes after that key.
        let (dependent, free): (Vec<_>, Vec<_>) =
            specs.into_iter().partition(|s| s.only_with.is_some() || !s.defaults_with.is_empty());
        let mut known = free.iter().map(|s| s.name).collect::<Vec<_>>();
        free.iter().for_each(|spec| self.setting(spec));
        for spec in dependent {
            if spec.only_with.is_some_and(|choice| self.draft.unknown.contains(choice.key)) {
                // Nothing is known about this key until the key that decides over it is right.
                known.push(spec.name);
                self.draft.unknown.insert(spec.name);
            } else if let Some(spec) = self.chosen(spec) {
                known.push(spec.name);
                self.setting(&spec);
            }
        }
        known
    }

    /// Gives the keys that take configs what `--set use.NAME=PATH` gives, behind what they have.
    fn take_set_configs(&mut self, component: &dyn Component) {
        let Some(&(place, _)) = self.loading.set_configs.last() else { return };
        for spec in component.keys().iter().filter(|spec| spec.takes_configs) {
            let value = self.draft.settings.values.entry(spec.name.to_owned());
            if let Value::Array(list) = value.or_insert_with(|| Value::Array(Vec::new())) {
                list.extend(self.loading.set_configs.iter().map(|(_, text)| Value::from(text.as_str())));
                self.draft.origins.insert(spec.name.to_owned(), place);
            }
        }
    }

    /// Gives a key its value, and notes if that value is not known. A key that may be absent and is, has its default.
    fn setting(&mut self, spec: &KeySpec) {
        let (value, is_known) = match self.given(spec.name) {
            Given::Entry(entry) => {
                self.draft.origins.insert(spec.name.to_owned(), entry.node.place);
                if let Data::List(list) = &entry.node.data {
                    let places = list.iter().map(|item| item.place).collect();
                    self.draft.entries.insert(spec.name.to_owned(), places);
                }
                let value = values::convert(&entry.node, spec, &self.written.name, self.loading);
                let is_known = value.is_some();
                (value, is_known)
            }
            Given::Lost => (None, false),
            Given::Nothing => {
                if spec.required {
                    self.missing_key(spec);
                }
                (None, !spec.required)
            }
        };
        let default = || {
            let base = self.loading.base(self.graph_file);
            spec.default.as_ref().map(|value| values::from_default(value, &spec.kind, base))
        };
        if let Some(value) = value.or_else(default) {
            self.draft.settings.values.insert(spec.name.to_owned(), value);
        }
        if !is_known {
            self.draft.unknown.insert(spec.name);
        }
    }

    /// What the graph gives for a key, inline or in a config.
    fn given(&mut self, key: &str) -> Given {
        if let Some(entry) = self.written.entry(key) {
            return Given::Entry(entry.clone());
        }
        if self.written.damaged || self.names_lost {
            return Given::Lost;
        }
        let mut lost = false;
        for name in self.names.iter().rev() {
            if let Some(entry) = self.configs.apply(name).and_then(|config| config.entry(key).cloned()) {
                // A later config that cannot be read may replace this value, but configs rarely share a key.
                return Given::Entry(entry);
            }
            lost |= self.configs.lacks_parts(name);
        }
        if lost { Given::Lost } else { Given::Nothing }
    }

    fn apply_configs(&mut self, mut with: impl FnMut(&mut AppliedConfig<'_>)) {
        for name in &self.names {
            if let Some(mut config) = self.configs.apply(name) {
                with(&mut config);
            }
        }
    }

    /// The names in `config`. Those that do not exist are reported.
    fn config_names(&mut self) -> Vec<String> {
        let Some(entry) = self.written.entry("config") else { return Vec::new() };
        let what = format!("`config` of stage {}", words::name(&self.written.name));
        let Some(names) = self.loading.texts(&entry.node, &what) else {
            self.draft.configs_known = false;
            self.names_lost = true;
            return Vec::new();
        };
        let known = self.configs.names();
        for (place, name) in names.iter().filter(|(_, name)| !known.contains(&name.as_str())) {
            if self.configs.is_damaged(name) {
                continue; // The config's line in `[use]` may be one that could not be read.
            }
            self.draft.configs_known = false;
            let message = format!("there is no config {} in `[use]`", words::name(name));
            let nearest = self.loading.report.nearest(name, known.iter().copied());
            let help = if name.contains('/') || name.ends_with(".toml") {
                let file = words::quoted(name);
                format!("`[use]` names files: write `NAME = {file}` there, and `config = \"NAME\"` here")
            } else {
                format!("name its file: `[use]` {} = \"…\"", words::name(name).trim_matches('`'))
            };
            let diagnostic = Diagnostic::error(*place, message).nearest(nearest).help(help);
            self.loading.report.push(diagnostic);
        }
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// The key with the default and the meaning that the values of other keys give it. Returns `None` where the key
    /// does not apply. If the stage names such a key all the same, that is reported.
    fn chosen(&mut self, mut spec: KeySpec) -> Option<KeySpec> {
        let settings = &self.draft.settings;
        let value = |key: &str| settings.get(key).and_then(Value::as_str).unwrap_or_default();
        let default = spec.defaults_with.iter().find(|(choice, _)| choice.words.contains(&value(choice.key)));
        if let Some((_, value)) = default {
            spec.default = Some(value.clone());
        }
        let Some(choice) = spec.only_with.filter(|choice| !choice.words.contains(&value(choice.key))) else {
            return Some(spec);
        };
        let entry = self.written.entry(spec.name)?;
        let (stage, decided) = (words::name(&self.draft.name), words::quoted(value(choice.key)));
        let message =
            format!("`{}` of stage {stage} has no effect: its `{}` is {decided}", spec.name, choice.key);
        let with = words::list(choice.words.iter().copied(), "or");
        let diagnostic = Diagnostic::error(entry.place, message)
            .help(format!("remove it; it goes with `{}` {with}", choice.key));
        self.loading.report.push(match self.draft.origins.get(choice.key) {
            Some(&place) => diagnostic.also(place, format!("`{}` is chosen here", choice.key)),
            None => diagnostic,
        });
        // One of the two keys is wrong.
        self.draft.unknown.insert(choice.key);
        None
    }

    fn missing_key(&mut self, spec: &KeySpec) {
        let message = format!(
            "stage {} lacks the key `{}`: {}",
            words::name(&self.draft.name),
            spec.name,
            words::wanted(spec)
        );
        self.loading.report.push(
            Diagnostic::error(self.draft.header, message)
                .label(format!("`{}` is missing", spec.name))
                .help(format!("`{}`: {}", spec.name, spec.doc)),
        );
    }

    fn unknown_key(&mut self, entry: &Entry, keys: &[&'static str]) {
        let type_name = self.draft.type_name();
        let message = format!("{} is not a key of `{type_name}`", words::name(&entry.key));
        let help = format!("`framewise stages {type_name}` lists its keys");
        let diagnostic = if let Some(port) = self.draft.ports.inputs.iter().find(|p| p.name == entry.key) {
            Diagnostic::error(entry.place, message)
                .help(format!("it is an input port: write `from = {{ {} = \"STAGE\" }}`", port.name))
        } else {
            let names = keys.iter().copied().chain(COMMON_KEYS);
            let nearest = self.loading.report.nearest(&entry.key, names);
            Diagnostic::error(entry.place, message).nearest(nearest).help(help)
        };
        self.loading.report.push(diagnostic);
    }

    fn capacities(&mut self) {
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
        self.draft.capacity = self.capacity(&items);
        self.draft.capacity_bytes = self.capacity(&bytes).unwrap_or(DEFAULT_CAPACITY_BYTES as usize);
    }

    /// The value of one of the two keys, if the stage gives it.
    fn capacity(&mut self, spec: &KeySpec) -> Option<usize> {
        let entry = self.written.entry(spec.name)?;
        if self.draft.ports.outputs.is_empty() {
            let message =
                format!("`{}` has no effect: `{}` has no output", spec.name, self.draft.type_name());
            self.loading.report.push(Diagnostic::error(entry.place, message).help("remove it"));
            return None;
        }
        let value = values::convert(&entry.node, spec, &self.written.name, self.loading);
        value.as_ref().and_then(Value::as_integer).and_then(|n| usize::try_from(n).ok())
    }

    /// Reports what the type finds wrong with the settings taken together.
    fn check(&mut self, component: &dyn Component) {
        for (key, message) in component.check(&self.draft.settings, &self.loading.check_context()) {
            let written = self.draft.origins.get(key).copied();
            self.loading.findings.add(&self.draft.name, key, message, written, self.draft.header);
        }
    }
}
