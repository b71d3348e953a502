//! The keys of a stage's configuration: one declared table serves checking, defaults and documentation.

use std::ops::RangeInclusive;

use toml::Value;

/// One key that a stage type takes in TOML.
#[derive(Debug, Clone)]
pub struct KeySpec {
    /// The key, as typed.
    pub name: &'static str,
    /// What values it takes.
    pub kind: KeyKind,
    /// The value used when the key is absent; `None` with `required = false` leaves the key unset.
    pub default: Option<Value>,
    /// Whether the key must be given.
    pub required: bool,
    /// The unit, such as `videos` or `frames`; empty where there is none.
    pub unit: &'static str,
    /// One or two sentences.
    pub doc: &'static str,
    /// Whether a run that is resumed may have another value: see [`KeySpec::free`].
    pub free: bool,
    /// Set for a key that applies only with some values of another key; with others it is refused.
    pub only_with: Option<Choice>,
    /// Defaults in place of `default` with some values of another key.
    pub defaults_with: Vec<(Choice, Value)>,
}

/// Some values of a key that other keys depend on, itself a [`KeyKind::OneOf`] with a default that depends on none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The deciding key.
    pub key: &'static str,
    /// Its values.
    pub words: &'static [&'static str],
}

/// The values that a key takes.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyKind {
    /// `true` or `false`.
    Bool,
    /// A whole number in a range.
    Integer(RangeInclusive<i64>),
    /// A number in a range; a whole number is accepted too. Never NaN.
    Float(RangeInclusive<f64>),
    /// Any text.
    Text,
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// A file or directory. A relative one is resolved against the file it was written in, and against the
    /// working directory when it comes from `--set`.
    Path,
    /// A file to write. A relative one from a file is left relative (the stage puts it into the run directory); one
    /// from `--set` is resolved against the working directory.
    OutputPath,
    /// A list of file names, globs or `@filelist`s (a single string is accepted as a list of one).
    Paths,
    /// A list of texts (a single string is accepted as a list of one).
    Texts,
    /// A list of whole numbers in a range.
    Integers(RangeInclusive<i64>),
    /// A list of numbers in a range.
    Floats(RangeInclusive<f64>),
}

impl KeySpec {
    /// An optional key without default; see [`KeySpec::required`] and [`KeySpec::default`].
    pub fn new(name: &'static str, kind: KeyKind, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            default: None,
            required: false,
            unit: "",
            doc,
            free: false,
            only_with: None,
            defaults_with: Vec::new(),
        }
    }

    /// A key that must be given.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The value used when the key is absent.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Restricts the key to stages whose `key` is one of `words`: elsewhere it has no value and giving one is an error.
    #[must_use]
    pub fn only_with(mut self, key: &'static str, words: &'static [&'static str]) -> Self {
        self.only_with = Some(Choice { key, words });
        self
    }

    /// The value used when the key is absent and `key` is one of `words`.
    #[must_use]
    pub fn default_with(
        mut self,
        key: &'static str,
        words: &'static [&'static str],
        value: impl Into<Value>,
    ) -> Self {
        self.defaults_with.push((Choice { key, words }, value.into()));
        self
    }

    /// The unit of the value.
    #[must_use]
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// The key may change when a run is resumed: it changes speed, output or length, not the numbers up to a step.
    /// Any other key that changed refuses the resume, unless the user allows it by name.
    #[must_use]
    pub fn free(mut self) -> Self {
        self.free = true;
        self
    }
}

impl KeyKind {
    /// A whole number from `min` up.
    pub fn at_least(min: i64) -> Self {
        KeyKind::Integer(min..=i64::MAX)
    }

    /// A number from `min` up.
    pub fn float_at_least(min: f64) -> Self {
        KeyKind::Float(min..=f64::MAX)
    }
}
