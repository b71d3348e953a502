//! The keys of a stage's configuration. One declared table of them serves checking, defaults and documentation.

use std::ops::RangeInclusive;

use toml::Value;

/// The keys that every stage takes, whatever its type.
pub const COMMON_KEYS: [&str; 5] = ["type", "from", "config", "capacity", "capacity_bytes"];

/// One key that a stage type takes in TOML.
#[derive(Debug, Clone)]
pub struct KeySpec {
    /// The key, as it is typed.
    pub name: &'static str,
    /// The values that the key takes.
    pub kind: KeyKind,
    /// The value that is used when the key is absent. `None` with `required = false` leaves the key unset.
    pub default: Option<Value>,
    /// Whether the key must be given.
    pub required: bool,
    /// The unit, such as `videos` or `frames`. Empty where there is none.
    pub unit: &'static str,
    /// The documentation of the key, in one or two sentences.
    pub doc: &'static str,
    /// Whether a resumed run may have another value: see [`KeySpec::free`].
    pub free: bool,
    /// Whether the key takes what `--set use.NAME=PATH` gives: see [`KeySpec::takes_configs`].
    pub takes_configs: bool,
    /// The values of another key with which this key applies. With other values it is refused. `None` for a key that
    /// always applies.
    pub only_with: Option<Choice>,
    /// The defaults that take the place of `default` with some values of another key.
    pub defaults_with: Vec<(Choice, Value)>,
}

/// Some values of a key on which other keys depend. That key is itself a [`KeyKind::OneOf`] whose default depends on no
/// other key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The deciding key.
    pub key: &'static str,
    /// The values of the deciding key.
    pub words: &'static [&'static str],
}

/// The characters that make a glob of a path: `*`, `?` and `[`.
pub const GLOB_CHARACTERS: [char; 3] = ['*', '?', '['];

/// Whether a path is a glob, such as `train*.tfrecord`.
pub fn is_glob(path: &str) -> bool {
    path.contains(GLOB_CHARACTERS)
}

/// The values that a key takes.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyKind {
    /// `true` or `false`.
    Bool,
    /// A whole number in a range.
    Integer(RangeInclusive<i64>),
    /// A number in a range, never NaN. A whole number is accepted too.
    Float(RangeInclusive<f64>),
    /// Any text.
    Text,
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// A file or directory. A relative path is resolved against the file in which it was written, or against the
    /// working directory when it comes from `--set`.
    Path,
    /// A file to write. A relative path from a file stays relative, and the stage puts it into the run directory. A
    /// relative path from `--set` is resolved against the working directory. `-` stands for standard output.
    OutputPath,
    /// A directory to write to. A relative path is resolved as for [`KeyKind::Path`].
    OutputDirectory,
    /// A list of file names, globs or `@filelist`s. A single text is accepted as a list of one.
    Paths,
    /// A list of texts. A single text is accepted as a list of one.
    Texts,
    /// A list of whole numbers in a range.
    Integers(RangeInclusive<i64>),
    /// A list of numbers in a range.
    Floats(RangeInclusive<f64>),
}

impl KeySpec {
    /// Makes an optional key without a default; see [`KeySpec::required`] and [`KeySpec::default`].
    pub fn new(name: &'static str, kind: KeyKind, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            default: None,
            required: false,
            unit: "",
            doc,
            free: false,
            takes_configs: false,
            only_with: None,
            defaults_with: Vec::new(),
        }
    }

    /// Makes the key one that must be given.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Sets the value that is used when the key is absent.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Restricts this key to stages whose key `key` is one of `words`. Elsewhere this key has no value, and giving one
    /// is an error.
    #[must_use]
    pub fn only_with(mut self, key: &'static str, words: &'static [&'static str]) -> Self {
        self.only_with = Some(Choice { key, words });
        self
    }

    /// Sets the value that is used when this key is absent and the key `key` is one of `words`.
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

    /// Sets the unit of the value.
    #[must_use]
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// Makes the key, a list of texts, also take every `--set use.NAME=PATH`, in the form `NAME=PATH` with an absolute
    /// path. A stage that runs another graph passes these configs on to that graph.
    #[must_use]
    pub fn takes_configs(mut self) -> Self {
        self.takes_configs = true;
        self
    }

    /// Allows the key to change when a run is resumed. Such a key changes speed, output or length, but not the numbers
    /// up to a step. When any other key has changed, the resume is refused, unless the user allows the change by name.
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
