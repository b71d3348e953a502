//! A written value as the kind that a key declares.
//!
//! Law: a value that comes out is of its kind and in range; whatever does not fit was reported.

use toml::Value;

use super::outputs::STANDARD_OUTPUT;
use crate::graph::read::loading::Loading;
use crate::graph::read::paths;
use crate::graph::read::syntax::{Data, Node};
use crate::graph::report::diagnostic::{Diagnostic, Place};
use crate::graph::report::words;
use crate::stage::key::{KeyKind, KeySpec};

/// Converts the value of `spec` for the stage `stage`; `None` after a report.
pub(crate) fn convert(node: &Node, spec: &KeySpec, stage: &str, loading: &mut Loading<'_>) -> Option<Value> {
    let mut conversion = Conversion { spec, stage, loading, of_variables: false };
    let typed = conversion.typed(node)?;
    conversion.value(typed.as_ref().unwrap_or(node))
}

/// A default as its kind: whole numbers for numbers and single texts for lists are what component authors
/// write too. Relative paths are relative to the graph's directory.
pub(crate) fn from_default(value: &Value, kind: &KeyKind, base: &std::path::Path) -> Value {
    let path = |text: &str| {
        if text.is_empty() { None } else { paths::absolute(base, text) }.unwrap_or_else(|| text.to_owned())
    };
    let entry = |text: &str| paths::absolute_entry(base, text).unwrap_or_else(|| text.to_owned());
    let list = |value: &Value, f: &dyn Fn(&Value) -> Value| match value {
        Value::Array(values) => Value::Array(values.iter().map(f).collect()),
        single => Value::Array(vec![f(single)]),
    };
    let number = |value: &Value| match value {
        Value::Integer(n) => Value::Float(*n as f64),
        other => other.clone(),
    };
    match (kind, value) {
        (KeyKind::Float(_), value) => number(value),
        (KeyKind::Floats(_), value) => list(value, &number),
        (KeyKind::Path | KeyKind::OutputDirectory, Value::String(text)) => Value::String(path(text)),
        (KeyKind::Paths, value) => list(value, &|v| match v {
            Value::String(text) => Value::String(entry(text)),
            other => other.clone(),
        }),
        (KeyKind::Texts | KeyKind::Integers(_), value) => list(value, &Value::clone),
        (_, value) => value.clone(),
    }
}

struct Conversion<'c, 'a> {
    spec: &'c KeySpec,
    stage: &'c str,
    loading: &'c mut Loading<'a>,
    /// Whether variables give the value that is being converted.
    of_variables: bool,
}

impl Conversion<'_, '_> {
    /// The value that takes the place of a text with variables, if the key's kind takes no text or takes a list.
    /// `None` after a report.
    fn typed(&mut self, node: &Node) -> Option<Option<Node>> {
        self.of_variables = false;
        let Data::Text(text) = &node.data else { return Some(None) };
        let is_list = match &self.spec.kind {
            KeyKind::Bool
            | KeyKind::Integer(_)
            | KeyKind::Float(_)
            | KeyKind::Integers(_)
            | KeyKind::Floats(_) => false,
            KeyKind::Paths | KeyKind::Texts => true,
            _ => return Some(None),
        };
        if !text.contains("${") {
            return Some(None);
        }
        let typed = self.loading.typed(node)?;
        // A text such as `32` is a path all the same.
        if is_list && !matches!(typed.data, Data::List(_)) {
            return Some(None);
        }
        self.of_variables = true;
        Some(Some(typed))
    }

    fn value(&mut self, node: &Node) -> Option<Value> {
        match (&self.spec.kind, &node.data) {
            (_, Data::Broken) => None,
            (KeyKind::Bool, Data::Bool(b)) => Some(Value::Boolean(*b)),
            (KeyKind::Integer(_) | KeyKind::Float(_), _) => self.number(node),
            (
                KeyKind::Text
                | KeyKind::Path
                | KeyKind::OutputPath
                | KeyKind::OutputDirectory
                | KeyKind::OneOf(_),
                _,
            ) => self.text(node),
            (
                KeyKind::Paths | KeyKind::Texts | KeyKind::Integers(_) | KeyKind::Floats(_),
                Data::List(list),
            ) => {
                // Every element is looked at, so that all that is wrong is said.
                let values = list.iter().map(|item| self.element(item)).collect::<Vec<_>>();
                values.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
            }
            (KeyKind::Paths | KeyKind::Texts, _) => Some(Value::Array(vec![self.text(node)?])),
            _ => self.wrong_type(node),
        }
    }

    fn element(&mut self, node: &Node) -> Option<Value> {
        match (&self.spec.kind, &node.data) {
            (_, Data::Broken) => None,
            (KeyKind::Paths | KeyKind::Texts, Data::Text(_)) => self.text(node),
            (KeyKind::Integers(_) | KeyKind::Floats(_), _) => {
                let typed = if self.of_variables { None } else { self.typed(node)? };
                self.number(typed.as_ref().unwrap_or(node))
            }
            _ => self.wrong_type(node),
        }
    }

    fn number(&mut self, node: &Node) -> Option<Value> {
        match (&self.spec.kind, &node.data) {
            (KeyKind::Integer(range) | KeyKind::Integers(range), Data::Integer(n)) => {
                let inside = range.contains(n);
                self.in_range(node, inside, Value::Integer(*n))
            }
            (KeyKind::Float(range) | KeyKind::Floats(range), Data::Integer(n)) => {
                let x = *n as f64;
                let inside = range.contains(&x);
                self.in_range(node, inside, Value::Float(x))
            }
            (KeyKind::Float(range) | KeyKind::Floats(range), Data::Float(x)) => {
                let inside = range.contains(x);
                self.in_range(node, inside, Value::Float(*x))
            }
            _ => self.wrong_type(node),
        }
    }

    fn text(&mut self, node: &Node) -> Option<Value> {
        let text = match &node.data {
            Data::Text(text) => text.clone(),
            // On a command line `--set stages.a.name=7` means the text.
            Data::Integer(_) | Data::Float(_) | Data::Bool(_) | Data::Date
                if self.loading.is_override(node.place) =>
            {
                self.loading.written(node.place).to_owned()
            }
            _ => return self.wrong_type(node),
        };
        let text = self.loading.expand(node.place, &text)?;
        match &self.spec.kind {
            KeyKind::OneOf(words) if !words.contains(&text.as_str()) => {
                self.not_one_of(node.place, words, &text)
            }
            KeyKind::Path | KeyKind::OutputDirectory | KeyKind::Paths => self.path(node.place, &text),
            // One from a file stays relative: the stage puts it into the run directory.
            KeyKind::OutputPath if text == STANDARD_OUTPUT => Some(Value::String(text)),
            KeyKind::OutputPath if text.is_empty() || self.loading.is_override(node.place) => {
                self.path(node.place, &text)
            }
            _ => Some(Value::String(text)),
        }
    }

    fn path(&mut self, place: Place, text: &str) -> Option<Value> {
        let is_list = matches!(self.spec.kind, KeyKind::Paths);
        if text.is_empty() {
            // Only a key that is empty by default has a meaning for it.
            let empty_by_default = self.spec.default.as_ref().and_then(Value::as_str) == Some("");
            if empty_by_default && !is_list {
                return Some(Value::String(String::new()));
            }
            let message = format!("{} holds an empty path", self.key());
            self.loading.report.push(Diagnostic::error(place, message));
            return None;
        }
        let base = self.loading.base(place);
        let path = if is_list { paths::absolute_entry(base, text) } else { paths::absolute(base, text) };
        if path.is_none() {
            let message = format!("{} is relative to a directory whose name is not UTF-8", self.key());
            self.loading.report.push(Diagnostic::error(place, message).help("write an absolute path"));
        }
        path.map(Value::String)
    }

    fn key(&self) -> String {
        format!("`{}` of stage {}", self.spec.name, words::name(self.stage))
    }

    fn wrong_type(&mut self, node: &Node) -> Option<Value> {
        let given = match &node.data {
            // What the variables hold has been escaped, so that it is not expanded again.
            Data::Text(text) if self.of_variables => {
                Data::Text(self.loading.expand(node.place, text)?).in_words()
            }
            data => data.in_words(),
        };
        let message = format!("{} must be {}, not {given}", self.key(), words::wanted(self.spec));
        let label = match &self.spec.kind {
            _ if self.of_variables => "its variables give this",
            KeyKind::Integer(_) | KeyKind::Integers(_) if matches!(node.data, Data::Float(x) if x.fract() == 0.0) => {
                "written without the point?"
            }
            KeyKind::Integer(_) | KeyKind::Float(_) | KeyKind::Bool if is_quoted_value(&node.data) => {
                "written without quotes?"
            }
            _ => "",
        };
        let diagnostic = self.with_doc(Diagnostic::error(node.place, message).label(label));
        self.loading.report.push(diagnostic);
        None
    }

    fn in_range(&mut self, node: &Node, inside: bool, value: Value) -> Option<Value> {
        if inside {
            return Some(value);
        }
        let message =
            format!("{} must be {}, not {}", self.key(), words::wanted(self.spec), node.data.in_words());
        let diagnostic = self.with_doc(Diagnostic::error(node.place, message).label(if self.of_variables {
            "its variables give this"
        } else {
            "out of range"
        }));
        self.loading.report.push(diagnostic);
        None
    }

    fn not_one_of(&mut self, place: Place, words: &[&'static str], text: &str) -> Option<Value> {
        let nearest = self.loading.report.nearest(text, words.iter().copied());
        let message =
            format!("{} must be {}, not {}", self.key(), words::wanted(self.spec), words::quoted(text));
        let diagnostic = self.with_doc(Diagnostic::error(place, message).nearest(nearest));
        self.loading.report.push(diagnostic);
        None
    }

    fn with_doc(&self, diagnostic: Diagnostic) -> Diagnostic {
        let default = self.spec.default.as_ref();
        let diagnostic = diagnostic.help(format!("`{}`: {}", self.spec.name, self.spec.doc));
        let Some(default) = default.filter(|v| !v.is_array()) else { return diagnostic };
        let unit = match self.spec.unit {
            "" => String::new(),
            // Units are plural nouns.
            unit if default.as_integer() == Some(1) => format!(" {}", unit.strip_suffix('s').unwrap_or(unit)),
            unit => format!(" {unit}"),
        };
        diagnostic.help(format!("the default is {default}{unit}"))
    }
}

fn is_quoted_value(data: &Data) -> bool {
    matches!(data, Data::Text(t) if t.parse::<f64>().is_ok() || matches!(t.as_str(), "true" | "false"))
}
